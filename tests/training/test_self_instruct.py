"""More rows like given ones: what the model is shown, and what is kept of what it writes."""

import itertools
import json
from random import Random

import pytest
from aiohttp import web

from tests.far_end import far_end
from training.rows import DataError, Row, read
from training.self_instruct import seeds_of

THINGS = ["bank", "shop", "car", "train", "garden", "house", "boat", "farm", "hotel", "museum", "school", "office"]
WAYS = ["quickly", "at night", "without help", "with friends", "in winter"]


def row(text, harm, license_="MIT"):
    return {"prompt": text, "response": None, "labels": {"harm": harm}, "source": "ours", "license": license_}


class Engine:
    """On loopback: goes on with a list as it began, or as the other label's begin, and remembers what was shown."""

    def __init__(self, *, turned=False):
        self.shown: list[str] = []
        self.numbers = itertools.count()
        self.turned = turned

    async def answer(self, request: web.Request) -> web.Response:
        self.shown.append((await request.json())["prompt"])
        bad = ("rob" in self.shown[-1].splitlines()[1].casefold()) != self.turned
        number = next(self.numbers)
        new = f'"{"Rob" if bad else "Visit"} the old {THINGS[number % 12]} {WAYS[number % 5]}, as in case {number}?"'
        texts = (new, "How do I rob a bank quickly?", "the the")
        return web.json_response({"choices": [{"text": f" {text}", "finish_reason": "stop"} for text in texts]})


@pytest.fixture
def engine():
    engine = Engine()
    with far_end(engine.answer) as engine.url:
        yield engine


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    made = [
        row(f"How do I {verb} a {t} {w}?", harm)
        for verb, harm in (("rob", 1), ("visit", 0))
        for t in THINGS
        for w in WAYS
    ]
    made.append(row("How do I rob everybody in town?", 1, "see-source"))
    path.write_text("".join(json.dumps(one) + "\n" for one in made))
    return path


@pytest.fixture
def written(train, rows):
    """What the command writes, and what it says, in the environment that has cleanlab."""
    if train("-c", "import cleanlab", check=False).returncode:
        pytest.skip("no cleanlab in .venv-engine: run `make train-env`")

    def run(engine, *more):
        out = rows.with_name("more.jsonl")
        given = [str(rows), "--category", "harm", "--url", engine.url, "--model", "small", "--out", str(out)]
        said = train("-m", "training.self_instruct", *given, *more).stdout
        return read([out]), json.loads(said.rpartition("\r")[2].splitlines()[-1])["dropped"]

    return run


def test_both_labels_are_written_to(engine, written):
    """New prompts get label and licence of those that were shown; what is old or no sentence is dropped and counted."""
    made, dropped = written(engine, "--count", "12")
    assert {r.labels["harm"] for r in made} == {0, 1}
    assert all((r.text.startswith("Rob")) == (r.labels["harm"] == 1) for r in made)
    assert all(r.source == "machine" and r.license == "MIT" and r.group for r in made)
    assert dropped["near another"] >= 12
    assert dropped["length"] >= 12
    assert dropped["doubtful"] == 0
    assert not any("everybody" in shown for shown in engine.shown)


def test_what_the_model_wrote_is_shown_beside_what_people_wrote(engine, written):
    """After the first rounds a list holds some of the model's own prompts, at most two; the next number ends it."""
    written(engine, "--count", "20")
    own = [sum("as in case" in line for line in shown.splitlines()) for shown in engine.shown]
    assert own[:2] == [0, 0]
    assert max(own) == 2
    assert all(shown.endswith("\n7.") for shown in engine.shown)


def test_doubtful_rows_are_dropped(written):
    """Prompts that read like the other label's, as those of a model that turned the matter round, are not written."""
    engine = Engine(turned=True)
    with far_end(engine.answer) as engine.url:
        made, dropped = written(engine, "--count", "10")
    assert dropped["doubtful"] > 0
    assert len(made) + dropped["doubtful"] == 10


def test_a_list_is_of_one_label_and_licence():
    """Labels take turns even where one has more rows; rows of two licences are never in one list."""
    rows = [
        Row(f"text {n} {lic} {harm}", {"harm": harm}, "ours", lic)
        for harm, lic in ((1, "MIT"), (1, "CC0-1.0"), (0, "MIT"))
        for n in range(4)
    ]
    seeds = seeds_of(rows, "harm")
    assert [kind[0] for kind in seeds.kinds()] == [0, 1, 0, 1]
    assert set(seeds.kinds()) == set(seeds.given)
    shown = seeds.shown((1, "CC0-1.0"), Random(0)).splitlines()[1:-1]
    assert len(shown) == 4
    assert all(line.endswith("CC0-1.0 1") for line in shown)


def test_too_few_rows_are_said():
    """A category that hardly any prompt is labelled with is an error that says so."""
    with pytest.raises(DataError, match="fewer than three prompts"):
        seeds_of([Row("a", {"harm": 1}, "ours", "MIT"), Row("b", {"hate": 1}, "ours", "MIT")], "harm")
