"""Redaction in a stream by guards that mark characters: what leaves is the whole answer, redacted, at every offset."""

import pytest

from guards.huggingface import HuggingFaceGuard, HuggingFaceSpec
from guards.lists import KeywordGuard, KeywordsSpec, RegexGuard, RegexSpec
from guards.policy import Policy
from guards.redact import redact
from guards.verdict import Passage
from tests import models
from tests.fakes import EchoEngine
from tests.serving import served
from tests.stream.test_leaks import PROVE, VARIANTS, answers, channel_text

FILLER = "so it was, and it rests for a while in the warm sun. "
PHRASES = ["Glob\u00e9x  Corp", "PROJ-1234", "株式会社", "Anna Smith"]
WORDS = ["globex corp", "株式会社", "bad"]
POLICY = Policy.model_validate(
    {
        "name": "spans",
        "version": 1,
        "guards": ["words", "rules", "names"],
        "deadline_s": 60,
        "lookahead_chars": 24,
        "first_segment_chars": 4,
        "most_segment_chars": 64,
        "output": {"hate": {"action": "redact"}, "secret": {"action": "redact"}, "pii": {"action": "redact"}},
    }
)


@pytest.fixture(scope="module")
def guards(tmp_path_factory):
    names = {"anna": (0, 9, 0), "smith": (0, 0, 9)}
    folder = tmp_path_factory.mktemp("names") / "m"
    models.write(folder, ["O", "B-PER", "I-PER"], names, (4, 0, 0), tokens=True)
    return [
        KeywordGuard("words", KeywordsSpec(lists={"hate": WORDS})),
        RegexGuard("rules", RegexSpec(patterns=[{"category": "secret", "pattern": r"PROJ-\d{4,8}\b"}])),
        HuggingFaceGuard("names", HuggingFaceSpec(model="m", labels={"PER": "pii"}), folder),
    ]


@pytest.mark.parametrize("phrase", PHRASES)
@pytest.mark.parametrize("variant", VARIANTS)
async def test_what_leaves_is_the_whole_answer_redacted(guards, variant, phrase):
    """However the engine cuts its text and wherever the phrase is, the client reads its category in its place."""
    step = 1 if PROVE else (2 if variant == "content" else 9)
    places = [(o, (1, 3, 7)[o // step % 3]) for o in range(0, 2 * len(FILLER) + 1, step)]
    texts = [(f"{FILLER * 2}"[:offset] + f" {phrase} " + f"{FILLER * 4}"[offset:], cut) for offset, cut in places]
    with served(POLICY, guards, EchoEngine()) as service:
        raws = answers(service, texts, variant, True)
        for text, cut in texts:
            got = channel_text(await anext(raws), True, variant)
            spans = [s for g in guards for s in g.judge([Passage(text, "response")])[0].spans]
            assert len(spans) == 1
            assert got == redact(text, spans), cut
            assert phrase not in got


async def test_the_beginning_of_a_longer_word_leaves_whole(guards):
    """`badminton` is not an entry of the list, wherever the stream is cut in it."""
    texts = [("a" * n + " badminton " + FILLER * 2, cut) for n in range(0, 40, 1 if PROVE else 3) for cut in (1, 4)]
    with served(POLICY, guards, EchoEngine()) as service:
        raws = answers(service, texts, "content", True)
        for text, _ in texts:
            assert channel_text(await anext(raws), True, "content") == text
