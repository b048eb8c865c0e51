"""Builds the documentation site from docs/: `make docs`, or `python -m docs.site.build --out var/site`.

docs/ is written to be read in the repository. What a site needs beside it is made here, in a folder of its own: the
reference pages, diagrams as pictures, links that leave docs/. A link to nothing ends the build.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from os.path import normpath, relpath
from pathlib import Path
from typing import Final

from docs.site import reference
from docs.site.markdown import fold, table

ROOT: Final = Path(__file__).parents[2]
HERE: Final = Path(__file__).parent
OUT: Final = Path("var/site")
MORE: Final = {  # pages of the site that are not below docs/
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
    "bench/README.md": "bench.md",
    "guards/models/default/README.md": "model-card.md",
    "training/LOG.md": "training-log.md",
}
FOLDERS: Final = {
    "docs/decisions": "decisions.md",
    "docs/how-to": "index.md",
    "docs/runbooks": "reference/alerts.md",
    "docs/tutorials": "index.md",
}
CODE: Final = re.compile(r"(^(`{3,}|~{3,}).*?^\2\s*?$|`[^`\n]+`)", re.M | re.S)
LINK: Final = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)")
DIAGRAM: Final = re.compile(r"^```mermaid\n(.*?)^```$", re.M | re.S)
FIGURE: Final = re.compile(r"<!-- figure: .*? -->")


class BuildError(Exception):
    """The site cannot be built; the message says which file is wrong, and how."""


def build(out: Path) -> Path:
    """Makes the site anew below `out`; returns the folder of its pages. Raises BuildError."""
    pages = out / "pages"
    for made in (pages, out / "html"):
        shutil.rmtree(made, ignore_errors=True)
    pages.mkdir(parents=True)
    stage(pages)
    shutil.copy(HERE / "zensical.toml", out)
    zensical = Path(sys.executable).with_name("zensical")
    command = (zensical, "build", "--clean", "--strict", "-f", out / "zensical.toml")
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildError(done.stdout + done.stderr)
    return out / "html"


def stage(pages: Path) -> None:
    """Writes all pages as Markdown that stands by itself. Raises BuildError."""
    documents(ROOT, pages)
    _write(pages / FOLDERS["docs/decisions"], decisions())
    for name, page in reference.PAGES.items():
        _write(pages / "reference" / f"{name}.md", page())
    _write(pages / "reference/openapi.json", json.dumps(reference.openapi(), indent=1))
    shutil.copy(HERE / "style.css", pages)


def documents(root: Path, pages: Path) -> None:
    """Writes the documents of a repository. Raises BuildError with every link to nothing."""
    found = [path.relative_to(root).as_posix() for path in (root / "docs").rglob("*.md")]
    known = {source: source.removeprefix("docs/") for source in found} | FOLDERS
    known |= {source: page for source, page in MORE.items() if (root / source).is_file()}
    faults: list[str] = []
    for source, page in sorted(known.items() - FOLDERS.items()):
        text = FIGURE.sub("", (root / source).read_text(encoding="utf-8"))
        text = _linked(text, root, source, known, pages, faults)
        _write(pages / page, _pictured(text, pages / page))
    if faults:
        raise BuildError("\n".join(faults))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _linked(text: str, root: Path, source: str, known: dict[str, str], pages: Path, faults: list[str]) -> str:
    """The text with its links turned to where their targets are on the site; files that are no pages come along."""
    here = Path(known[source]).parent

    def turned(match: re.Match[str]) -> str:
        target = normpath(Path(source).parent / match.group())
        if target not in known:
            if not (root / target).is_file():
                faults.append(f"{source}: link to nothing: {match.group()}")
                return match.group()
            (pages / "files" / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / target, pages / "files" / target)
        return relpath(known.get(target, f"files/{target}"), here)

    parts = CODE.split(text)  # text, code, its fence, text, ...
    return "".join(LINK.sub(turned, part) if i % 3 == 0 else part for i, part in enumerate(parts) if i % 3 != 2)


def _pictured(text: str, page: Path) -> str:
    """The text with its diagrams as pictures beside the page: a browser need not draw, nor fetch what draws."""
    import mermaidx  # type: ignore[import-untyped]  # it has no stubs

    def picture(match: re.Match[str]) -> str:
        heading = re.findall(r"^#+ (.+)$", text[: match.start()], re.M)[-1]
        named = re.sub(r"\W+", "-", heading.lower())
        file = page.with_name(f"{page.stem}-{named}.svg")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(mermaidx.render(match.group(1)).svg(), encoding="utf-8")
        return f"![Diagram: {heading}]({file.name}){{ .diagram }}"

    return DIAGRAM.sub(picture, text)


def decisions() -> str:
    """The list of decisions, each with its sentence."""
    rows = [_decision(path) for path in sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))]
    listed = table(("", "decision", "in a sentence"), rows)
    return f"# Decisions\n\nWhy things are as they are, half a page each.\n\n{listed}\n"


def _decision(path: Path) -> tuple[str, str, str]:
    text = path.read_text(encoding="utf-8")
    number, _, title = text.partition("\n")[0].removeprefix("# ").partition(": ")
    sentence = re.search(r"\*\*Decision\.?\*\*\s*\*(.+?)\*", text, re.S)
    return number, f"[{title}](decisions/{path.name})", fold(sentence.group(1)) if sentence else ""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m docs.site.build", description="Build the documentation site.")
    parser.add_argument("--out", type=Path, default=OUT, help="folder that is made anew (default: %(default)s)")
    try:
        html = build(parser.parse_args(argv).out)
    except BuildError as error:
        sys.exit(str(error))
    print(f"{html}/index.html\nwith search: python3 -m http.server -d {html} 8090, then http://127.0.0.1:8090")


if __name__ == "__main__":
    main()
