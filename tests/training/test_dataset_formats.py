"""What goes out in another form comes back the same."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from training.dataset import formats
from training.dataset.feed import public
from training.dataset.items import Example
from training.rows import DataError

TURNS = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "größer?"}]
GUARDS = [
    {"kind": "prompt", "prompt": "p\n1", "labels": {"harm": 1}},
    {"kind": "response", "prompt": "p", "response": "r", "labels": {"response_harm": 0, "toxicity": 1}},
]
PAIRS = [
    {
        "kind": "pair",
        "prompt": TURNS,
        "chosen": [{"role": "assistant", "content": "yes"}],
        "rejected": [{"role": "assistant", "content": "no"}],
    }
]
ANSWERS = [{"kind": "preferred", "messages": [*TURNS, {"role": "assistant", "content": "yes"}]}]
STATED = {"source": "ours", "license": "MIT"}


def examples(tmp_path: Path, rows: list[dict[str, object]]) -> list[Example]:
    """Of rows of ours, as `build` reads them, in two splits."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row | STATED) + "\n" for row in rows))
    found = public(path, pairs=True).examples
    return [replace(e, item=replace(e.item, split=("train", "test")[n % 2])) for n, e in enumerate(found)]


def told(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """What of rows every form keeps, in an order of its own."""
    names = ("kind", "prompt", "response", "labels", "messages", "chosen", "rejected", "source", "license")
    return sorted(({n: row[n] for n in names if n in row} for row in rows), key=repr)


@pytest.mark.parametrize(
    ("form", "rows"),
    [
        ("jsonl", GUARDS + PAIRS + ANSWERS),
        ("openai", GUARDS + PAIRS + ANSWERS),
        ("trl-preference", PAIRS),
        ("trl-completion", ANSWERS),
    ],
)
def test_there_and_back(tmp_path, form, rows):
    """Texts, turns and labels that went out in a form are the same when the files are read back."""
    made = examples(tmp_path, rows)
    formats.write(form, made, tmp_path / "out")
    back = [row for path in (tmp_path / "out").iterdir() for row in formats.read(form, path, "ours", "MIT")]
    assert told(back) == told([row | STATED for row in rows])
    again = examples(tmp_path, back)
    assert sorted(e.said for e in again) == sorted(e.said for e in made)


def test_the_forms_are_those_of_others(tmp_path):
    """Lines have the very fields that OpenAI's fine-tuning and TRL's trainers document."""
    out = tmp_path / "out"
    made = examples(tmp_path, PAIRS + ANSWERS)
    assert formats.write("openai", made, out) == {"pairs-train.jsonl": 1, "answers-test.jsonl": 1}
    (pair,) = map(json.loads, (out / "pairs-train.jsonl").read_text().splitlines())
    assert pair.keys() == {"input", "preferred_output", "non_preferred_output"}
    assert pair["input"]["messages"] == TURNS
    assert formats.write("trl-preference", made, out) == {"train.jsonl": 1}
    assert json.loads((out / "train.jsonl").read_text()).keys() == {"prompt", "chosen", "rejected"}
    assert formats.write("trl-completion", made, out) == {"test.jsonl": 1}
    (answer,) = map(json.loads, (out / "test.jsonl").read_text().splitlines())
    assert answer == {"prompt": TURNS, "completion": [{"role": "assistant", "content": "yes"}]}


def test_a_form_without_a_place_for_the_rows_is_an_error(tmp_path):
    """Nothing is left out in silence: a form that fits no row says which it takes, an unknown one which there are."""
    made = examples(tmp_path, GUARDS)
    with pytest.raises(DataError, match="it takes: pairs"):
        formats.write("trl-preference", made, tmp_path / "out")
    with pytest.raises(DataError, match="give one of"):
        formats.write("xml", made, tmp_path / "out")
    (tmp_path / "bad.jsonl").write_text('{"messages": 3}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl:1"):
        formats.read("openai", tmp_path / "bad.jsonl", "ours", "MIT")


ROUND = """
import sys
from dataclasses import replace
from pathlib import Path
from training.dataset import formats
from training.dataset.feed import public
home = Path(sys.argv[1])
found = public(home / "rows.jsonl", pairs=True).examples
found = [replace(e, item=replace(e.item, split=("train", "test")[n % 2])) for n, e in enumerate(found)]
for form in ("huggingface", "parquet"):
    formats.write(form, found, home / form)
    back = [row for folder in (home / form).iterdir() for row in formats.read(form, folder, "ours", "MIT")]
    key = lambda row: row["id"]
    assert sorted(back, key=key) == sorted(map(formats.row, found), key=key), back
"""


def test_hugging_face_datasets_there_and_back(train: Callable[..., subprocess.CompletedProcess[str]], tmp_path):
    """A dataset on disk and parquet files, read by the library itself, hold the same texts, turns and labels."""
    if train("-c", "import datasets", check=False).returncode:
        pytest.skip("no datasets in the engine's environment: run `make train-env`")
    examples(tmp_path, GUARDS + PAIRS + ANSWERS)
    train("-c", ROUND, str(tmp_path), HF_HOME=str(tmp_path / "hf"))
