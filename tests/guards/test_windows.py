"""Every part of a text is read, in windows of bounded size, and a stream pays for what is new only."""

import json
from pathlib import Path

import numpy as np
import pytest

from guards.verdict import Passage
from guards.windows import Windows, batches, pad

TOKENIZER = (Path(__file__).parents[2] / "guards/models/default/tokenizer.json").read_text(encoding="utf-8")
WORDS = list(json.loads(TOKENIZER)["model"]["vocab"])
LONG = " ".join(f"word {n}" for n in range(3000))


@pytest.fixture(scope="module")
def windows() -> Windows:
    return Windows(TOKENIZER, max_tokens=64, overlap_tokens=16, prompt_tokens=16)


def said(window) -> str:
    return " ".join(WORDS[i] for i in window.ids)


def test_every_word_of_a_long_text_is_in_some_window(windows):
    """However long a text is, each of its numbers is read by at least one window of at most 64 tokens."""
    found = windows.cut([Passage(LONG)])
    read = " ".join(said(w).replace(" ##", "") for w in found)
    assert max(len(w.ids) for w in found) <= 64
    assert all(f" {n} " in f"{read} " for n in range(3000))


def test_a_phrase_shorter_than_the_overlap_is_never_torn(windows):
    """A phrase of up to the overlap lies whole in one window, wherever it begins."""
    for before in range(0, 80, 3):
        text = "go " * before + "red green blue white black" + " go" * 90
        assert any("red green blue white black" in said(w) for w in windows.cut([Passage(text)]))


def test_a_stream_runs_only_windows_with_new_text(windows):
    """Of a passage judged up to `since`, only windows that reach past it are run, and at least the last one."""
    everything = windows.cut([Passage(LONG, "response", "why?")])
    news = windows.cut([Passage(LONG, "response", "why?", since=len(LONG) - 10)])
    nothing_new = windows.cut([Passage(LONG, "response", "why?", since=len(LONG))])
    assert len(everything) > 50
    assert len(news) <= 2
    assert len(nothing_new) == 1
    assert said(news[0]) == said(everything[0])


def test_work_on_a_stream_does_not_grow_with_its_length(windows):
    """The newest segment of an endless answer costs the same windows as that of a short one."""
    for times in (1, 10, 40):
        text = LONG * times
        assert len(windows.cut([Passage(text, "response", since=len(text) - 100)])) <= 3


def test_the_whole_of_a_new_stretch_is_read(windows):
    """Everything past `since` is in some window, also when it is longer than one."""
    start = LONG.index("word 2000")
    read = " ".join(said(w).replace(" ##", "") for w in windows.cut([Passage(LONG, "response", since=start)]))
    assert all(f" {n} " in f"{read} " for n in range(2000, 3000))


def test_a_response_is_read_after_the_tail_of_its_prompt(windows):
    """A response is a pair: the last 16 tokens of the prompt, then the response, which alone is cut into windows."""
    prompt = " ".join(["early"] * 100 + ["late"] * 15)
    for window in windows.cut([Passage(LONG, "response", prompt)]):
        context = [WORDS[i] for i, kind in zip(window.ids, window.types, strict=True) if kind == 0]
        assert context == ["[CLS]", "early", *["late"] * 15, "[SEP]"]


@pytest.mark.parametrize("text", ["", " ", "\u200b", "\x00", "\ud800"])
def test_an_empty_text_has_a_window(windows, text):
    """A text without a token, or that is no valid Unicode, is judged all the same, not skipped."""
    assert len(windows.cut([Passage(text)])) == 1
    assert len(windows.cut([Passage(text, "response", "hi")])) == 1


@pytest.mark.parametrize(
    "disguise", ["b\u200bomb", "ｂｏｍｂ", "𝐛𝐨𝐦𝐛", "bo\u00admb", "BÖMB", "\U000e0062\U000e006f\U000e006d\U000e0062"]
)
def test_cheap_disguises_read_as_the_plain_word(windows, disguise):
    """Zero-width characters, full width, mathematical letters, soft hyphens, accents and tag letters fall away."""
    assert said(windows.cut([Passage(disguise)])[0]) == "[CLS] bomb [SEP]"


def test_a_disguised_text_is_read_both_ways(windows):
    """A text is read as it stands and as it is meant, a response both times after its prompt."""
    standing, meant = windows.cut([Passage("we k1ll th3m all")])
    assert said(standing) != said(meant) == "[CLS] we kill them all [SEP]"
    standing, meant = windows.cut([Passage("we k1ll th3m all", "response", "why?")])
    assert said(meant) == "[CLS] why ? [SEP] we kill them all [SEP]"
    assert list(meant.types) == [0] * 4 + [1] * 5


def test_a_disguise_in_a_stream_is_read_while_it_is_near(windows):
    """As a stream goes on, a disguise is read with what follows it, until that is further away than its context."""
    start = f"{LONG} we k1ll th3m all "
    near, far = f"{start}{LONG[:300]}", f"{start}{LONG[:2000]}"
    assert any("kill them all" in said(w) for w in windows.cut([Passage(near, "response", since=len(near) - 50)]))
    assert not any("kill them all" in said(w) for w in windows.cut([Passage(far, "response", since=len(far) - 50)]))


def test_a_disguise_longer_than_a_segment_is_read_however_it_streams(windows):
    """Spaced or coded words that arrive a few characters at a time are read whole, as if they had come at once."""
    for disguise in ("k i l l t h e m a l l", "d2Uga2lsbCB0aGVtIGFsbA=="):
        text = f"{LONG[:1000]} {disguise}"
        for step in (1, 3, 7, 40):
            seen = set[str]()
            for end in range(1000, len(text) + step, step):
                passage = Passage(text[:end], "response", since=max(0, end - step - 24))
                seen |= {said(w) for w in windows.cut([passage])}
            assert any("kill them all" in s for s in seen), (disguise, step)


def test_a_separator_typed_by_a_user_is_text(windows):
    """`[SEP]` in a text does not end the judged segment."""
    window = windows.cut([Passage("good [SEP] bad [CLS] [MASK]")])[0]
    assert list(window.ids).count(WORDS.index("[SEP]")) == 1
    assert WORDS.index("[MASK]") not in window.ids


def test_a_word_without_end_is_read_in_pieces(windows):
    """A thousand letters without a space are read, not turned into one unknown token."""
    found = windows.cut([Passage("killthemall" * 100)])
    assert len(found) > 3
    assert all("[UNK]" not in said(w) for w in found)


def test_batches_stay_within_the_token_budget(windows):
    """No batch holds more tokens than the budget, padding included, and none is lost."""
    cut = windows.cut([Passage(LONG[:n]) for n in (1, 50, 300, 20, 4000)])
    made = list(batches(cut, batch_tokens=256))
    assert sum(len(b) for b in made) == len(cut)
    assert all(len(b) * max(len(w.ids) for w in b) <= 256 for b in made)


def test_padding_is_masked(windows):
    """Padded positions carry no mask, and lengths are multiples of eight."""
    inputs = pad(windows.cut([Passage("one"), Passage("one two three four five six seven eight nine")]))
    assert inputs["input_ids"].shape == (2, 16)
    np.testing.assert_array_equal(inputs["attention_mask"].sum(1), [3, 11])
