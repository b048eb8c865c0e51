"""Versions of datasets: build, look at, compare, write out in other forms.

sluicegate-train data build --name guards --feed decisions.jsonl --public data:train --check hatecheck=data:dev
sluicegate-train data build training/recipes/dataset.yaml
sluicegate-train data list
sluicegate-train data show guards
sluicegate-train data card guards@3f2a --html card.html
sluicegate-train data materialise guards --out rows --feed decisions.jsonl
sluicegate-train data diff guards@3f2a guards@9c01
sluicegate-train data export guards --format trl-preference --out pairs
sluicegate-train data import chats.jsonl --format openai --source ours --license MIT --out rows.jsonl
sluicegate-train data verify guards
sluicegate-train data fetch --out data/train --only toxigen
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from guards.evaluation.page import columns
from training import document
from training.dataset import recipe as recipes
from training.dataset import version
from training.rows import DataError

Options = argparse.Namespace


def main(argv: Sequence[str] | None = None) -> None:
    """One verb of `sluicegate-train data`. Raises DataError."""
    options = _parser().parse_args(argv)
    VERBS[options.verb](options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sluicegate-train data", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _building(verbs)
    verbs.add_parser("list", help="versions in the registry, oldest first")
    for verb, what in (
        ("show", "the manifest in short"),
        ("verify", "whether it is as it was made; exit code 1 if not"),
    ):
        one = verbs.add_parser(verb, help=what)
        one.add_argument("dataset", help="NAME, NAME@VERSION or a folder")
    shown = verbs.add_parser("card", help="the data card, as markdown")
    shown.add_argument("dataset")
    shown.add_argument("--html", type=Path, help="write the page with plots there instead")
    two = verbs.add_parser("diff", help="what one version has that another has not, and other labels")
    two.add_argument("dataset")
    two.add_argument("other")
    _texts(verbs)
    return parser


def _building(verbs: Any) -> None:
    build = verbs.add_parser("build", help="make a version from reviewed traffic and public files")
    build.add_argument("recipe", nargs="?", type=Path, help="YAML; options add to it and go before it")
    build.add_argument("--name", help="of the dataset")
    build.add_argument("--feed", action="append", default=[], help="reviewed traffic: a file, or the URL of an export")
    build.add_argument("--public", action="append", default=[], help="labelled rows: a file, a folder, or data:train")
    build.add_argument(
        "--check", action="append", default=[], metavar="NAME=WHERE", help="an evaluation set to keep out"
    )
    build.add_argument(
        "--kind", action="append", default=[], help="prompt, response, pair, preferred; may be given again"
    )
    build.add_argument("--parent", action="append", default=[], help="digest of the version that this one goes on from")
    build.add_argument("--seed", type=int)
    _key(build)


def _texts(verbs: Any) -> None:
    texts = verbs.add_parser("materialise", help="write the rows with their texts, a file a split")
    out = verbs.add_parser("export", help="the same in another form")
    out.add_argument(
        "--format", required=True, help="jsonl, huggingface, parquet, openai, trl-preference, trl-completion"
    )
    for one in (texts, out):
        one.add_argument("dataset")
        one.add_argument("--out", type=Path, required=True, help="a folder; it holds plain text, keep it safe")
        one.add_argument("--feed", action="append", default=[], help="where the texts are, if not where they were")
        _key(one)
    bring = verbs.add_parser("import", help="rows of ours from a file in another form, for `build --public`")
    bring.add_argument("path", type=Path)
    bring.add_argument("--format", required=True, help="as of export")
    bring.add_argument("--out", type=Path, required=True, help="a JSONL file")
    bring.add_argument("--source", required=True, help="what to call where it comes from")
    bring.add_argument("--license", required=True, help="under which it may be used, such as MIT")
    fetch = verbs.add_parser(
        "fetch", help="bring public data from where its makers keep it, with licences and checksums"
    )
    fetch.add_argument("--out", type=Path, required=True, help="a folder")
    fetch.add_argument("--only", action="append", default=[], help="name of a source; may be given again")
    fetch.add_argument("--sources", type=Path, help="a YAML file of sources instead of the one that comes along")


def _key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--key", help="an operator's, for feeds behind HTTP; by default SLUICEGATE_ADMIN_KEY")


def _build(options: Options) -> None:
    from training.dataset.build import build

    given = document.fields(options.recipe) if options.recipe else {}
    for name, more in (("feeds", options.feed), ("public", options.public), ("parents", options.parent)):
        if more:
            given[name] = [*given.get(name, []), *more]
    given |= {name: value for name in ("name", "seed") if (value := getattr(options, name)) is not None}
    given |= {"kinds": options.kind} if options.kind else {}
    if sets := dict(check.partition("=")[::2] for check in options.check):
        leakage = dict(given.get("leakage", {}))
        given["leakage"] = leakage | {"sets": dict(leakage.get("sets", {})) | sets}
    made = build(recipes.recipe(given, str(options.recipe or "the options")), options.key)
    _told(made)


def _told(found: version.Version) -> None:
    manifest = found.manifest
    print(f"{found.id}  {manifest['counts']['rows']} rows  {found.digest}")
    print("  " + ", ".join(f"{part} {n}" for part, n in manifest["splits"].items()))
    for name in ("kinds", "sources"):
        print(f"  {name}: " + ", ".join(f"{what} {n}" for what, n in manifest["counts"][name].items()))
    print("  left out: " + (", ".join(f"{why} {n}" for why, n in manifest["left_out"].items()) or "nothing"))
    print(f"  {found.folder}")


def _list(options: Options) -> None:
    rows = [["dataset", "made", "rows", "digest"]]
    for manifest in version.versions():
        made = time.strftime("%Y-%m-%d %H:%M", time.gmtime(manifest["made_at"]))
        rows.append(
            [f"{manifest['name']}@{manifest['version']}", made, str(manifest["counts"]["rows"]), manifest["digest"]]
        )
    print(columns(rows))


def _show(options: Options) -> None:
    _told(version.load(version.find(options.dataset)))


def _card(options: Options) -> None:
    from training.dataset import card

    found = version.load(version.find(options.dataset))
    if options.html:
        options.html.write_text(card.html(found), encoding="utf-8")
        print(options.html)
    else:
        print(card.markdown(found), end="")


def _materialise(options: Options) -> None:
    options.format = "jsonl"
    _export(options)


def _export(options: Options) -> None:
    from training.dataset import formats
    from training.dataset.texts import materialised

    found = materialised(version.load(version.find(options.dataset)), options.feed, options.key)
    written = formats.write(options.format, found.examples, options.out)
    print(found.told)
    for part, rows in written.items():
        print(f"  {part}: {rows}")


def _import(options: Options) -> None:
    from training.dataset import formats

    rows = formats.read(options.format, options.path, options.source, options.license)
    options.out.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    print(f"{len(rows)} rows in {options.out}")


def _diff(options: Options) -> None:
    one, other = (version.load(version.find(name)) for name in (options.dataset, options.other))
    ours, theirs = ({item.id: item for item in v.items} for v in (one, other))
    both = ours.keys() & theirs.keys()
    print(f"{one.id} -> {other.id}")
    for what, n in (
        ("only in the first", len(ours) - len(both)),
        ("only in the second", len(theirs) - len(both)),
        ("in both", len(both)),
        ("with other labels", sum(ours[i].labels != theirs[i].labels for i in both)),
        ("of another text", sum(ours[i].key != theirs[i].key for i in both)),
        ("on another side", sum(ours[i].split != theirs[i].split for i in both)),
    ):
        print(f"  {what}: {n}")


def _verify(options: Options) -> None:
    found = version.load(version.find(options.dataset))
    if faults := version.faults(found):
        raise DataError(f"{found.id}: {'; '.join(faults)}: do not train on it; build it again")
    print(f"{found.id}: as it was made, {found.digest}")


def _fetch(options: Options) -> None:
    from training.dataset import fetch

    for told in fetch.fetch(options.out, options.only, options.sources):
        print(told, flush=True)


VERBS: Final[dict[str, Callable[[Options], None]]] = {
    "build": _build,
    "list": _list,
    "show": _show,
    "card": _card,
    "materialise": _materialise,
    "diff": _diff,
    "export": _export,
    "import": _import,
    "verify": _verify,
    "fetch": _fetch,
}

if __name__ == "__main__":
    main()
