"""Keyword and regex guards: what they find, where, in streams, in what time, and which lists they refuse."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from guards.guard import GuardError
from guards.lists import KeywordGuard, KeywordsSpec, RegexGuard, RegexSpec, fold
from guards.registry import GuardsFile, Loading, build
from guards.verdict import Passage

ENTRIES = ("Globex", "initech corp", "straße", "株式会社", "C++", "bad")


def keywords(*entries: str, **options) -> KeywordGuard:
    return KeywordGuard("words", KeywordsSpec(lists={"toxicity": entries}, **options))


def regexes(*patterns: str, **options) -> RegexGuard:
    return RegexGuard("rules", RegexSpec(patterns=[{"category": "secret", "pattern": p, **options} for p in patterns]))


def found(guard, text, **options):
    return [text[s.start : s.end] for s in guard.judge([Passage(text, **options)])[0].spans]


WORDS = keywords(*ENTRIES)


@pytest.mark.parametrize(
    "text",
    [
        "We sell GLOBEX.",
        "gl\u00f3b\u00e8x",  # accents in one piece
        "Glo\u0301bex",  # and as marks of their own
        "Ｇｌｏｂｅｘ",
        "Glo\u200bb\u00adex",
        "Initech\u00a0\n  Corp!",
        "STRASSE",
        "die Straße dort",
        "東京の株式会社です",
        "I write C++ code",
    ],
)
def test_an_entry_is_found_however_it_is_written(text):
    """Case, accents, width, invisible characters and spacing make no difference."""
    scores = WORDS.judge([Passage(text)])[0]
    assert scores.by_category == {"toxicity": 1.0}
    assert len(scores.spans) == 1


@pytest.mark.parametrize("text", ["globexes", "badminton", "not_bad", "C+", "initechcorp", ""])
def test_a_part_of_a_word_is_not_an_entry(text):
    """Entries are whole words."""
    assert found(WORDS, text) == []


def test_spans_hold_all_that_was_written():
    """What a span takes out leaves nothing of the entry behind, accents and invisible characters included."""
    text = "x Gl\u200bo\u0301bex\u0301\u200b, Initech \t Corp y"
    assert found(WORDS, text) == ["Gl\u200bo\u0301bex\u0301\u200b", "Initech \t Corp"]


def test_entries_that_overlap_are_all_found():
    """An entry inside another, or beginning in it, is found in its own category too."""
    lists = {"toxicity": ["new york", "york city"], "hate": ["york"]}
    scores = KeywordGuard("words", KeywordsSpec(lists=lists)).judge([Passage("in New York City")])[0]
    assert {(s.start, s.end, s.category) for s in scores.spans} == {
        (3, 11, "toxicity"),
        (7, 16, "toxicity"),
        (7, 11, "hate"),
    }


def test_parts_of_words_where_asked_for():
    """Without `whole_words` an entry is found inside words."""
    assert found(keywords("bad", whole_words=False, score=0.7), "badminton") == ["bad"]


def test_entries_may_be_in_a_file(tmp_path):
    """A list may be a file beside the guards file, an entry a line; a file that is not there is an error."""
    (tmp_path / "words.txt").write_text("# comment\nGlobex\n\nC#\n", encoding="utf-8")
    file = GuardsFile.model_validate({"guards": {"w": {"kind": "keywords", "lists": {"hate": "words.txt"}}}})
    guard = build(file, Loading(tmp_path), ["w"])["w"]
    assert found(guard, "globex in C# code") == ["globex", "C#"]
    with pytest.raises(GuardError, match=r"words\.txt: cannot be read"):
        build(file, Loading(tmp_path / "elsewhere"), ["w"])


def test_an_entry_that_is_nothing_is_refused():
    """An entry of accents and spaces alone would be found everywhere."""
    with pytest.raises(GuardError, match="no character that can be compared"):
        keywords("ok", " \u0301\u200b ")
    with pytest.raises(GuardError, match="list of toxicity has no entry"):
        keywords()


def test_a_category_that_nobody_knows_is_refused():
    """A category is one of the taxonomy or declared in the file: a list for a misspelt one would never be used."""
    guards = {"w": {"kind": "keywords", "lists": {"rivals": ["Globex"]}}}
    with pytest.raises(GuardError, match=r"unknown categories \['rivals'\]"):
        build(GuardsFile.model_validate({"guards": guards}), Loading(), ["w"])
    assert build(GuardsFile.model_validate({"guards": guards, "categories": ["rivals"]}), Loading(), ["w"])


def test_the_digest_is_that_of_the_entries():
    """Another entry, option or pattern is another digest; another order or case of entries is not."""
    assert keywords("a", "b").digest == keywords("B", "a").digest
    digests = {g.digest for g in (keywords("a"), keywords("b"), keywords("a", score=0.5), regexes("a"), regexes("b"))}
    assert len(digests) == 5


@given(st.text())
def test_folding_keeps_places(text):
    """For any text there is a place in it for each folded character and for the end, in order."""
    folded, places = fold(text)
    assert len(places) == len(folded) + 1
    assert list(places) == sorted(places)
    assert places[-1] == len(text)
    assert fold(folded.strip())[0].strip() == fold(fold(folded.strip())[0])[0].strip()


@given(st.text(), st.sampled_from(ENTRIES), st.text())
def test_an_entry_between_spaces_is_always_found(before, entry, after):
    """Whatever is around it, an entry set apart by spaces is found at its place."""
    text = f"{before} {entry} {after}"
    spans = WORDS.judge([Passage(text)])[0].spans
    at = len(before) + 1
    assert any(s.start <= at and s.end >= at + len(entry) for s in spans)


@pytest.mark.parametrize("guard", [WORDS, regexes(r"\bGlobex\b", r"株式会社")], ids=["keywords", "regex"])
def test_a_stream_finds_what_the_whole_has(guard):
    """At every offset and in every step, the spans of a growing text are those of the whole at its end."""
    for entry in ("Globex", "株式会社"):
        for offset in range(40):
            text = "x " * (offset // 2) + " " * (offset % 2) + f"{entry}. " + "and so it goes on " * 3
            whole = found(guard, text)
            for step in (1, 3, 7):
                seen: list[str] = []
                since = 0
                for end in range(step, len(text) + step, step):
                    spans = guard.judge([Passage(text[:end], "response", since=since, growing=end < len(text))])[
                        0
                    ].spans
                    seen += [text[s.start : s.end] for s in spans if text[s.start : s.end] not in seen]
                    since = max(0, end - guard.reach_chars)
                assert seen == whole == [entry]


@pytest.mark.parametrize(("guard", "text"), [(WORDS, "badminton"), (regexes(r"\bbad\b"), "badminton")])
def test_the_beginning_of_a_longer_word_is_no_finding(guard, text):
    """`bad` at the end of a text that grows into `badminton` is told only when the word has ended."""
    assert found(guard, "bad", kind="response", growing=True) == []
    assert found(guard, text, kind="response", growing=True) == []
    assert found(guard, "bad", kind="response") == ["bad"]
    assert found(guard, "bad ", kind="response", growing=True) == ["bad"]


def test_matches_of_patterns_have_their_characters():
    """Offsets are in characters, whatever their size in bytes; each pattern has its own score."""
    rules = [
        {"category": "secret", "pattern": r"PROJ-\d{4}", "score": 0.9},
        {"category": "pii", "pattern": r"(?i)ausweis \pL{2}\d{3}", "longest_chars": 13},
    ]
    guard = RegexGuard("rules", RegexSpec(patterns=rules))
    scores = guard.judge([Passage("äöü€😀 PROJ-1234, Ausweis ÄB123")])[0]
    assert scores.by_category == {"secret": 0.9, "pii": 1.0}
    assert found(guard, "äöü€😀 PROJ-1234, Ausweis ÄB123") == ["PROJ-1234", "Ausweis ÄB123"]
    assert found(guard, "\ud800 PROJ-1234") == ["PROJ-1234"]


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "missing"),
        (r"a(?=b)", "look-around"),
        (r"(a)\1", "back-references"),
        ("a*", "empty text"),
        (r"key-\w+", "no longest length"),
    ],
)
def test_a_pattern_that_cannot_be_held_to_time_or_length_is_refused(pattern, why):
    """What RE2 does not take, what matches nothing at all, and what has no longest match is a fault of the file."""
    with pytest.raises(ValidationError, match=why):
        RegexSpec(patterns=[{"category": "secret", "pattern": pattern}])


def test_an_unbounded_pattern_says_from_where_it_is_known():
    """`longest_chars` is what a stream must hold back; a longer match is still found whole."""
    guard = regexes(r"key-\w{4,}", longest_chars=8)
    assert guard.reach_chars == 8
    assert found(guard, "key-" + "a" * 500) == ["key-" + "a" * 500]


@pytest.mark.parametrize(
    ("guard", "hostile"),
    [
        (regexes(r"(?:a+)+b", longest_chars=24), "a" * 200_000),
        (regexes(r"(?:a|aa){1,20}c"), "a" * 200_000),
        (WORDS, "globe" * 40_000),
        (keywords(*("a" * n for n in range(1, 60)), whole_words=False), "ab" * 100_000),
        (WORDS, "e\u0301" * 100_000),
    ],
    ids=["nested", "choices", "beginnings", "nested entries", "accents"],
)
def test_no_list_and_no_text_takes_long(guard, hostile):
    """200,000 hostile characters, the longest prompt, take a guard less than two seconds of CPU."""
    started = time.process_time()
    guard.judge([Passage(hostile)])
    assert time.process_time() - started < 2
