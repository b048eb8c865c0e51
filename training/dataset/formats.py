"""Rows in the forms that others read and write: ours, Hugging Face datasets, OpenAI's fine-tuning files, TRL's.

What a form has no place for is left out of it: OpenAI's and TRL's know no licence and no group, so that whoever brings
such a file in says them anew.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from training.dataset.feed import messages
from training.dataset.items import Example, Json
from training.dataset.recipe import SPLITS
from training.rows import DataError

FAMILIES: Final = {"prompt": "guards", "response": "guards", "pair": "pairs", "preferred": "answers"}
INSTRUCTION: Final = "Answer with a JSON object of category to 1 where the text is of that category, else 0."
Rows = list[Json]


@dataclass(frozen=True, slots=True)
class Form:
    """`families`: those it has a place for. `to` and `back`: a row of ours as one of it, and the other way round."""

    families: tuple[str, ...]
    to: Callable[[Json], Json]
    back: Callable[[Json], Json]


def row(example: Example) -> Json:
    """As `build --public` reads it."""
    item = example.item
    kept = {"id": item.id, "kind": item.kind, **example.texts}
    kept |= {name: dict(of) for name in ("labels", "distribution") if (of := getattr(item, name))}
    kept |= {"source": item.of, "license": item.license, "group": item.group, "weight": item.weight}
    return kept | ({"agreement": item.agreement} if item.agreement is not None else {})


def write(form: str, examples: Sequence[Example], out: Path) -> dict[str, int]:
    """Files in folder `out`, a split each: file -> rows. Raises DataError when the form has no place for any."""
    rows: dict[str, Rows] = {part: [row(e) for e in examples if e.item.split == part] for part in SPLITS}
    out.mkdir(parents=True, exist_ok=True)
    if form in ("huggingface", "parquet"):
        return _to_arrow(form, rows, out)
    if form == "jsonl":
        return {_file(out, part, of): len(of) for part, of in rows.items() if of}
    known = _form(form)
    written = {}
    for part, of in rows.items():
        for family, some in _by_family(of):
            if family in known.families:
                name = f"{family}-{part}" if len(known.families) > 1 else part
                written[_file(out, name, [known.to(one) for one in some])] = len(some)
    if not written:
        raise DataError(f"{form} has no place for any of these rows; it takes: {', '.join(known.families)}")
    return written


def read(form: str, path: Path, source: str, license_: str) -> Rows:
    """Rows of ours. What the file does not say of source and licence is as given. Raises DataError."""
    stated = {"source": source, "license": license_}
    if form in ("huggingface", "parquet"):
        return [stated | one for one in _from_arrow(form, path)]
    back = (lambda one: one) if form == "jsonl" else _form(form).back
    found = []
    for number, line in enumerate(_lines(path), 1):
        try:
            found.append(stated | back(json.loads(line)))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise DataError(f"{path}:{number}: not a row of {form} ({error!r})") from error
    return found


def _form(name: str) -> Form:
    if name not in FORMS:
        raise DataError(f"format {name!r} is not known; give one of: jsonl, huggingface, parquet, {', '.join(FORMS)}")
    return FORMS[name]


def _to_openai(ours: Json) -> Json:
    if "chosen" in ours:
        sides = {"preferred_output": ours["chosen"], "non_preferred_output": ours["rejected"]}
        return {"input": {"messages": ours["prompt"]}, **sides}
    if "messages" in ours:
        return {"messages": ours["messages"]}
    texts = {name: ours[name] for name in ("prompt", "response") if name in ours}
    said = (("system", INSTRUCTION), ("user", _json(texts)), ("assistant", _json(ours["labels"])))
    return {"messages": [{"role": role, "content": content} for role, content in said]}


def _from_openai(theirs: Json) -> Json:
    if "preferred_output" in theirs:
        answers = {"chosen": theirs["preferred_output"], "rejected": theirs["non_preferred_output"]}
        return {"kind": "pair", "prompt": messages(theirs["input"]["messages"]), **_told(answers)}
    turns = messages(theirs["messages"])
    if turns[0] != {"role": "system", "content": INSTRUCTION}:
        return {"kind": "preferred", "messages": turns}
    texts, labels = json.loads(turns[1]["content"]), json.loads(turns[2]["content"])
    return {"kind": "response" if "response" in texts else "prompt", **texts, "labels": labels}


def _told(sides: Mapping[str, Any]) -> Json:
    """Answers, as text or as messages, as messages of the assistant."""
    return {
        name: [{"role": "assistant", "content": said}] if isinstance(said, str) else messages(said)
        for name, said in sides.items()
    }


def _to_preference(ours: Json) -> Json:
    return {name: ours[name] for name in ("prompt", "chosen", "rejected")}


def _from_preference(theirs: Json) -> Json:
    sides = {name: theirs[name] for name in ("chosen", "rejected")}
    return {"kind": "pair", "prompt": messages(theirs["prompt"]), **_told(sides)}


def _to_completion(ours: Json) -> Json:
    return {"prompt": ours["messages"][:-1], "completion": ours["messages"][-1:]}


def _from_completion(theirs: Json) -> Json:
    answer = _told({"completion": theirs["completion"]})["completion"]
    return {"kind": "preferred", "messages": messages(theirs["prompt"]) + answer}


FORMS: Final[dict[str, Form]] = {
    "openai": Form(("guards", "pairs", "answers"), _to_openai, _from_openai),
    "trl-preference": Form(("pairs",), _to_preference, _from_preference),
    "trl-completion": Form(("answers",), _to_completion, _from_completion),
}


def _by_family(rows: Rows) -> Iterator[tuple[str, Rows]]:
    ordered = sorted(rows, key=_family)
    return ((family, list(some)) for family, some in groupby(ordered, _family))


def _family(ours: Json) -> str:
    return FAMILIES[ours["kind"]]


def _file(out: Path, name: str, rows: Iterable[Json]) -> str:
    path = out / f"{name}.jsonl"
    path.touch(mode=0o600)
    path.write_text("".join(_json(one) + "\n" for one in rows), encoding="utf-8")
    return path.name


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _to_arrow(form: str, rows: Mapping[str, Rows], out: Path) -> dict[str, int]:
    """A folder a family: `load_from_disk` reads it, or a parquet file a split."""
    from datasets import Dataset, DatasetDict, disable_progress_bars

    disable_progress_bars()
    written: dict[str, int] = {}
    for family in sorted(set(FAMILIES.values())):
        parts = {part: [one for one in of if _family(one) == family] for part, of in rows.items()}
        made = DatasetDict({part: Dataset.from_list(_even(of)) for part, of in parts.items() if of})
        written |= {f"{family}/{part}": len(of) for part, of in made.items()}
        if form == "huggingface" and made:
            made.save_to_disk(str(out / family))
        for part, of in made.items() if form == "parquet" else ():
            (out / family).mkdir(exist_ok=True)
            of.to_parquet(str(out / family / f"{part}.parquet"))
    return written


def _even(rows: Rows) -> Rows:
    """All with the same columns and categories: a table has no missing ones, but empty ones."""
    names = {name for one in rows for name in one}
    even = [{name: one.get(name) for name in names} for one in rows]
    for column in ("labels", "distribution"):
        keys = sorted({key for one in rows for key in one.get(column) or ()})
        for one in even:
            if column in names:
                one[column] = {key: (one[column] or {}).get(key) for key in keys} if keys else None
    return even


def _from_arrow(form: str, path: Path) -> Rows:
    from datasets import Dataset, DatasetDict, load_from_disk

    try:
        if form == "parquet":
            files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
            found = [one for file in files for one in Dataset.from_parquet(str(file))]
        else:
            loaded = load_from_disk(str(path))
            found = [one for part in (loaded.values() if isinstance(loaded, DatasetDict) else [loaded]) for one in part]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a dataset of {form}: {error}") from error
    return [_known(one) for one in found]


def _known(theirs: Mapping[str, Any]) -> Json:
    """Without empty columns and categories."""
    told = {name: value for name, value in theirs.items() if value is not None}
    for column in ("labels", "distribution"):
        if column in told:
            told[column] = {key: value for key, value in told[column].items() if value is not None}
    return told
