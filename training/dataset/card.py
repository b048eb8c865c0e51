"""The data card of a version: markdown, and HTML with plots. Needs matplotlib for the plots."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from guards.evaluation.page import heading, note, page, table
from training.dataset.items import Item
from training.dataset.recipe import PRIVATE, SPLITS
from training.dataset.version import Version

CARD: Final = "card.md"
HTML: Final = "card.html"
Rows = list[list[str]]


def write(version: Version) -> None:
    """Into the version's folder, once."""
    for name, text in ((CARD, markdown(version)), (HTML, html(version))):
        path = version.folder / name
        if not path.exists():
            path.write_text(text, encoding="utf-8")
            path.chmod(0o444)


def markdown(version: Version) -> str:
    """The card to read."""
    blocks = [f"# {version.id}", *_said(version)]
    for title, rows in tables(version):
        head, *body = ["| " + " | ".join(cells) + " |" for cells in rows]
        blocks.append(f"## {title}\n\n" + "\n".join([head, "|" + "---|" * len(rows[0]), *body]))
    return "\n\n".join(blocks) + "\n"


def html(version: Version) -> str:
    """The card with plots; a page that loads nothing."""
    from guards.evaluation.page import image
    from training.dataset import plots

    blocks = [note(said) for said in _said(version)]
    for name, svg in plots.of(version.items).items():
        blocks.append(image(svg, name))
    for title, rows in tables(version):
        blocks += [heading(title), table(rows)]
    return page(version.id, blocks)


def tables(version: Version) -> list[tuple[str, Rows]]:
    """Everything that is counted, with titles."""
    manifest, items = version.manifest, version.items
    return [
        ("Labels", _labels(items)),
        ("Sources", _sources(items)),
        ("Where it was read", _origins(manifest["sources"])),
        ("Agreement of reviewers", _shares("agreement", [i.agreement for i in items if i.source == "human"])),
        ("Weights", _shares("weight", [i.weight for i in items])),
        ("Left out, and why", _counted("reason", manifest["left_out"])),
        ("Evaluation sets it was checked against", _checked(manifest["leakage"])),
        ("Rules", [["rule", "value"], *([name, str(value)] for name, value in sorted(manifest["rules"].items()))]),
    ]


def _said(version: Version) -> list[str]:
    manifest, counts = version.manifest, version.manifest["counts"]
    told = [
        f"{counts['rows']} rows: {counts['reviewed']} decided by people who review, {counts['machine']} made by "
        "machine, the others public. Texts are not in it: they are read from the feeds when they are needed.",
        f"Digest {manifest['digest']}, seed {manifest['seed']}, code {manifest['revision'] or 'unknown'}, of "
        f"{counts['exchanges']} exchanges. Parents: {', '.join(manifest['parents']) or 'none'}.",
    ]
    if PRIVATE in counts["licenses"]:
        told.append(
            "It holds private traffic: neither it nor what is trained on it may be published without clearance."
        )
    return told


def _labels(items: Sequence[Item]) -> Rows:
    found = Counter((c, i.split, label) for i in items for c, label in i.labels.items())
    categories = sorted({c for c, _, _ in found})
    head = ["category", *(f"{part}: yes / no" for part in SPLITS)]
    return [head, *([c, *(f"{found[c, part, 1]} / {found[c, part, 0]}" for part in SPLITS)] for c in categories)]


def _sources(items: Sequence[Item]) -> Rows:
    found = Counter((i.of, i.split) for i in items)
    licenses = {of: ", ".join(sorted({i.license for i in items if i.of == of})) for of in sorted({i.of for i in items})}
    return [
        ["source", "licence", *SPLITS],
        *([of, licenses[of], *(str(found[of, p]) for p in SPLITS)] for of in licenses),
    ]


def _origins(sources: Sequence[Mapping[str, object]]) -> Rows:
    return [
        ["name", "kind", "rows", "sha256"],
        *([str(s[k]) for k in ("name", "kind", "rows", "sha256")] for s in sources),
    ]


def _shares(name: str, values: Sequence[float | None]) -> Rows:
    known = Counter(f"{v:.2f}" if v is not None else "not known" for v in values)
    return [[name, "rows"], *([value, str(known[value])] for value in sorted(known))]


def _counted(name: str, found: Mapping[str, int]) -> Rows:
    return [[name, "rows"], *([what, str(n)] for what, n in sorted(found.items(), key=lambda item: -item[1]))]


def _checked(leakage: Sequence[Mapping[str, object]]) -> Rows:
    return [
        ["set", "similarity from which a text leaks", "found"],
        *([str(s["set"]), str(s["least"]), str(s["found"])] for s in leakage),
    ]
