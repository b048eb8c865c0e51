"""User turns that a chat model writes: what is kept of them, and what is not."""

import itertools
from pathlib import Path

import pytest
from aiohttp import web

from tests.far_end import far_end
from training.near import Seen, grams
from training.rows import LICENSES, DataError, read
from training.sample import LABELS, Keep, flaw, main

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "training" / "data" / "chat_turns.jsonl.gz"
TURNS = [
    ("What should I cook for eight friends on Friday?", "stop"),
    ("What should I cook for eight friends on Friday evening?", "stop"),
    ("x = [f(y) for y in {'a': 1}.items()]; print(x[0:{}])", "stop"),
    ("the the the the the the the the", "stop"),
    ("tell me how to build a pipe bomb at home", "stop"),
    ("Can you recommend a quiet campsite near a", "length"),
    ("Why do cats knock glasses off the table?", "stop"),
]


class Engine:
    """On loopback: gives the same turns to every request, and remembers what it was asked."""

    def __init__(self):
        self.asked: list[dict] = []
        self.status = 200

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        choices = [{"text": text, "finish_reason": reason} for text, reason in TURNS]
        return web.json_response({"choices": choices}, status=self.status)


@pytest.fixture
def engine():
    engine = Engine()
    with far_end(engine.answer) as engine.url:
        yield engine


def sampled(engine, out, *more):
    main(["--url", engine.url, "--model", "small", "--out", str(out), "--seconds", "0.01", *more])


def test_rows_of_finished_new_harmless_turns(engine, tmp_path, monkeypatch, capsys):
    """What the engine writes after the user header becomes harmless rows that the trainer reads."""
    monkeypatch.chdir(ROOT)
    sampled(engine, tmp_path / "turns.jsonl.gz", "--header", "<user>", "--batch", "7")
    rows = read([tmp_path / "turns.jsonl.gz"])
    endings = [row.text[-20:] for row in rows]
    assert endings == [TURNS[0][0][-20:], TURNS[6][0][-20:]]
    assert all(r.labels == LABELS and r.source == "machine" and r.license in LICENSES and r.group for r in rows)
    assert engine.asked[0]["prompt"].startswith("<user>")
    assert engine.asked[0]["n"] == 7
    assert '"kept": 2' in capsys.readouterr().out


def test_an_engine_that_refuses_is_said(engine, tmp_path):
    """An engine that answers with an error, or none at all, ends the run with a clear line, and nothing is written."""
    engine.status = 401
    with pytest.raises(DataError, match="the engine answers 401"):
        sampled(engine, tmp_path / "turns.jsonl", "--guard", str(ROOT / "guards/models/default"))
    engine.url = "http://127.0.0.1:9"
    with pytest.raises(DataError, match="no answer from the engine"):
        sampled(engine, tmp_path / "turns.jsonl", "--guard", str(ROOT / "guards/models/default"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("turn", "fault"),
    [
        ("hi", "length"),
        ("How long is a year on Mars?", ""),
        ("a year on Mars " * 40, "length"),
        ("Wie alt ist Köln, und wie groß ist Bonn?", ""),
        ("何が好きですか。教えてください。お願いします", "noise"),
        ("{}[]{}[]()()<> code && more ||", "noise"),
        ("<|im_start|>assistant of mine", "noise"),
        ("go home now go home now go home now go home now", "repetition"),
    ],
)
def test_what_is_wrong_with_a_turn(turn, fault):
    """Too short or long, other than letters, or repeated: the fault is named."""
    assert flaw(turn) == fault


def test_a_guard_drops_by_category():
    """A turn is dropped when a category reaches its limit; a category without a score drops nothing."""
    keep = Keep(lambda turn: {"harm": 0.8, "toxicity": 0.6 if "fool" in turn else 0.1}, {"harm": 0.9, "toxicity": 0.5})
    keep.take(["Where is the post office?", "Where is it, you fool of a clerk?"], "small")
    assert [r["prompt"] for r in keep.rows] == ["Where is the post office?"]
    assert keep.dropped == {"unsafe": 1}


def test_near_texts_are_found_again():
    """A text with half of its word 4-grams in common is near; case and punctuation count for nothing."""
    seen = Seen()
    seen.add("One two three, four five six!")
    assert seen.near("one TWO three four five six") == "One two three, four five six!"
    assert seen.near("one two three four five six seven eight nine ten") is None
    assert seen.near("quite another text about nothing") is None
    assert grams("two words") == {"two words"}


def test_the_turns_that_are_kept_here():
    """The sampled file is marked, distinct, plain and small."""
    rows = read([KEPT])
    assert len(rows) > 500
    assert len({r.text for r in rows}) == len(rows)
    assert {(r.source, r.license) for r in rows} == {("machine", "Apache-2.0")}
    assert not [r.text for r in rows if flaw(r.text)]
    assert KEPT.stat().st_size < 400_000
    for earlier, later in itertools.pairwise(rows):
        assert earlier.group != later.group
