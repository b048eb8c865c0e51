"""What enters training, and what cannot."""

import gzip
import json
from pathlib import Path
from random import Random

import pytest

from training.rows import LICENSES, DataError, Row, data_folder, read, take


def write(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def line(**fields: object) -> dict[str, object]:
    return {"prompt": "a", "response": None, "labels": {"harm": 0}, "source": "s", "license": "MIT"} | fields


@pytest.mark.parametrize("license_", ["see-source", "Apache-2.0 (collection)", "CC-BY-NC-4.0", "", "mit"])
def test_a_licence_that_is_not_on_the_list_stays_out(tmp_path, license_):
    """Rows under unclear, non-commercial or misspelt licences never reach the weights."""
    path = write(tmp_path / "a.jsonl", line(license=license_), line(prompt="kept"))
    assert [r.text for r in read([path])] == ["kept"]


@pytest.mark.parametrize("license_", sorted(LICENSES))
def test_allowed_licences_are_read(tmp_path, license_):
    """Each licence of the allow-list is read, from plain and from packed files."""
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(line(license=license_)).encode()))
    assert len(read([path])) == 1


def test_a_pair_gives_a_prompt_and_a_response(tmp_path):
    """Labels about prompts go to the prompt, labels about answers to the answer with the prompt as its context."""
    labels = {"harm": 0, "injection": 0, "response_harm": 1}
    path = write(tmp_path / "a.jsonl", line(prompt="p", response="r", labels=labels))
    response, prompt = read([path])
    assert (response.text, response.prompt, response.labels) == ("r", "p", {"response_harm": 1})
    assert (prompt.text, prompt.is_response, prompt.labels) == ("p", False, {"harm": 0, "injection": 0})


def test_pairs_are_read_in_both_forms(tmp_path):
    """HH-RLHF's strings and TRL's messages give the same answers; a label only where the pair is about harm."""
    hh = {
        side: f"\n\nHuman: hi\n\nAssistant: hello\n\nHuman: p\n\nAssistant: {side}" for side in ("chosen", "rejected")
    }
    trl = {"prompt": [{"role": "user", "content": "hi"}, {"role": "user", "content": "p"}]}
    trl |= {side: [{"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
    given = {"source": "s", "license": "MIT"}
    path = write(tmp_path / "a.jsonl", hh | given, trl | given | {"about": "harmless"}, trl | given)
    found = [(r.prompt, r.text, r.labels["response_harm"]) for r in read([path])]
    assert found == [("p", "chosen", 0), ("p", "rejected", 1)] * 2


def test_a_response_row_labels_its_response_alone(tmp_path):
    """The prompt of a line of `kind: response` is context: whatever was said, it gives no row of its own."""
    given = line(kind="response", prompt="p", response="r", labels={"response_harm": 1, "harm": 1})
    assert [r.text for r in read([write(tmp_path / "a.jsonl", given)])] == ["r"]


def test_a_bad_line_is_named(tmp_path):
    """A line without labels is an error that names the file and the line."""
    path = write(tmp_path / "a.jsonl", line(), {"prompt": "x"})
    with pytest.raises(DataError, match=r"a\.jsonl:2"):
        read([path])


def test_missing_data_says_what_to_set(monkeypatch, tmp_path):
    """Without a data folder the error names the variable to set."""
    monkeypatch.setenv("SLUICEGATE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="SLUICEGATE_DATA"):
        data_folder()


def test_caps_and_unnamed_sources():
    """At most the given number of a source is taken, the same with the same seed; what is not named stays out."""
    rows = [Row(str(n), {"harm": 0}, source, "MIT") for source in "ab" for n in range(20)]
    taken = take(rows, {"a": 5}, Random(1))
    assert len(taken) == 5
    assert {r.source for r in taken} == {"a"}
    assert taken == take(rows, {"a": 5}, Random(1))
