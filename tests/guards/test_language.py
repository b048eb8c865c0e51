"""The language guard: what it tells, what it leaves open, and which guards were measured in what."""

import gzip
import json
import os
from pathlib import Path

import pytest

from guards.classifier import MODEL, TOKENIZER
from guards.language import CERTAIN, ONLY_HOME, WINDOW_CHARS, LanguageGuard, languages_of, measured
from guards.patterns import PatternGuard
from guards.registry import load
from guards.verdict import Passage
from tests.fakes import WordGuard

GERMAN = "Der Zug nach München fährt heute wegen einer Störung erst eine Stunde später vom Gleis gegenüber ab."
ENGLISH = "The train to the coast leaves an hour later than usual today because of a fault at the station."
TEXTS = {
    "de": GERMAN,
    "en": ENGLISH,
    "fr": "Le train de Lyon partira aujourd'hui avec une heure de retard à cause d'un incident sur la voie.",
    "es": "El tren de Sevilla sale hoy una hora más tarde de lo habitual por una avería en la estación.",
    "zh": "由于车站发生故障，今天开往海边的火车比平时晚一个小时出发，请旅客耐心等候。",
    "ru": "Поезд на побережье сегодня отправится на час позже обычного из-за неисправности на станции.",
    "vi": "Chuyến tàu đi biển hôm nay khởi hành muộn hơn một giờ so với thường lệ vì sự cố ở nhà ga.",
    "ar": "القطار المتجه إلى الساحل سيغادر اليوم متأخرا ساعة عن موعده المعتاد بسبب عطل في المحطة.",
    "sw": "Treni ya kwenda pwani itaondoka leo saa moja baadaye kuliko kawaida kwa sababu ya hitilafu kituoni.",
}
DATA = Path(os.environ.get("SLUICEGATE_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture(scope="module")
def guard():
    return LanguageGuard()


def certain(guard, text, since=0):
    (scores,) = guard.judge([Passage(text, since=since)])
    return {category for category, score in scores.by_category.items() if score >= CERTAIN}


@pytest.mark.parametrize("code", TEXTS)
def test_a_sentence_tells_its_language(guard, code):
    """One sentence is enough, in Latin script and in others, and it is told as one of the guard's categories."""
    assert certain(guard, TEXTS[code]) == {f"language:{code}"}
    assert f"language:{code}" in guard.covers("input") & guard.covers("output")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ok",
        "Guten Tag",
        "Wie geht es Ihnen?",
        "你好",
        "12 + 30 = 42; 3.14159 " * 9,
        "!!! ??? ... ---" * 20,
        "🙂" * 100,
    ],
    ids=range(8),
)
def test_a_short_text_and_no_language_tell_nothing(guard, text):
    """A greeting, numbers and signs are in no language for certain."""
    assert certain(guard, text) == set()


def test_a_foreign_passage_is_found_wherever_it_is(guard):
    """Foreign text in the middle or at the end of a long English one is found; half a surrogate pair stops nothing."""
    for before, after in ((30, 0), (0, 30), (15, 15)):
        text = (ENGLISH + " ") * before + (GERMAN + " ") * 8 + "\ud800 " + (ENGLISH + " ") * after
        assert "language:de" in certain(guard, text)
    assert certain(guard, (ENGLISH + " ") * 60) == {"language:en"}


def test_of_a_growing_text_only_the_new_part_is_read(guard):
    """What was judged before `since` is not read again, but for the window that the new text ends."""
    text = (GERMAN + " ") * 8 + (ENGLISH + " ") * 20
    assert certain(guard, text) == {"language:de", "language:en"}
    assert certain(guard, text, since=len(text) - 10) == {"language:en"}
    assert len((ENGLISH + " ") * 20) > WINDOW_CHARS


def test_who_says_nothing_is_measured_in_english_only():
    """A guard without figures counts for English; rules count for every language; figures are what they are."""
    assert languages_of(WordGuard({})) is ONLY_HOME
    assert languages_of(PatternGuard()) is None
    assert measured(ONLY_HOME, "en", "harm", 1.0)
    assert not measured(ONLY_HOME, "de", "harm", 0.01)
    figures = {"en": {"hate": 0.4}, "zh": {"harm": 0.7}}
    assert [measured(figures, "zh", "harm", r) for r in (0.5, 0.7, 0.71)] == [True, True, False]
    assert not measured(figures, "zh", "hate", 0.5)
    assert not measured(figures, "en", "hate", 0.5)
    assert measured(figures, "en", "harm", 0.5)


def test_a_classifier_brings_its_figures(tmp_path):
    """Recall by language in `guard.json` is what the guard says of itself, and part of its digest."""
    ships = load("default")
    for name in (MODEL, TOKENIZER):
        (tmp_path / name).symlink_to(Path(load.__globals__["MODELS"]) / "default" / name)
    manifest = ships.manifest.model_copy(update={"languages": {"en": {"harm": 0.8}, "zh": {"harm": 0.6}}})
    (tmp_path / "guard.json").write_text(manifest.model_dump_json())
    found = load("own", tmp_path)
    assert languages_of(found) == {"en": {"harm": 0.8}, "zh": {"harm": 0.6}}
    assert found.digest != ships.digest


@pytest.mark.data
def test_real_rows(guard):
    """Hardly an English prompt or answer is taken for foreign; hardly a Vietnamese or Chinese prompt is missed."""
    rows = {"en": [], "vi": [], "zh": []}
    sources = {"catqa_vietnamese": "vi", "catqa_chinese": "zh", "harmfulqa": "en", "arena_hard_answers": "en"}
    for name in ("prompt_harm", "benign"):
        path = DATA / "train" / f"{name}.jsonl.gz"
        if not path.exists():
            pytest.skip(f"no {path.name}: set SLUICEGATE_DATA")
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                if row["source"] in sources:
                    rows[sources[row["source"]]].append(row["response"] or row["prompt"])
    rows["en"] = rows["en"] if os.environ.get("SLUICEGATE_PROVE") else rows["en"][::4]
    foreign = sum(bool(certain(guard, text) - {"language:en"}) for text in rows["en"])
    assert foreign <= 0.005 * len(rows["en"])
    long_enough = [text for text in rows["zh"] if len(text) >= 30]
    assert sum("language:zh" in certain(guard, t) for t in long_enough) >= 0.95 * len(long_enough)
    assert sum("language:vi" in certain(guard, t) for t in rows["vi"]) >= 0.98 * len(rows["vi"])
