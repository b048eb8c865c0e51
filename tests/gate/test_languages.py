"""Text in a language that no guard was measured in, through the real judges and the real gate, both ways."""

from contextlib import asynccontextmanager

import pytest

from guards.language import LanguageGuard
from guards.policy import Policy
from guards.verdict import Judgement, Passage
from service.gate.decisions import decide
from service.gate.exchange import Caller, GuardUnavailable, Refused
from service.gate.pipeline import Gate, answer
from service.judges import BatchedJudges
from service.telemetry.metrics import Metrics
from tests.fakes import BrokenGuard, MemoryLedger, ScriptedEngine, WordGuard, text_deltas
from tests.gate.test_pipeline import asked, finish_of, text_of

GERMAN = "Der Zug nach München fährt heute wegen einer Störung erst eine Stunde später vom Gleis gegenüber ab."
ENGLISH = "The train to the coast leaves an hour later than usual today because of a fault at the station."
WORDS = {"harm": "BOMB", "toxicity": "Idiot"}


class German(WordGuard):
    """Knows German words, and says that it was measured in it."""

    languages = {"de": {"harm": 0.7, "toxicity": 0.6}}  # noqa: RUF012


class Characters(WordGuard):
    """A rule: what it finds depends on no language."""

    languages = None


@pytest.fixture(scope="module")
def language():
    return LanguageGuard()


def policy(**changes):
    rules = {"harm": {}, "toxicity": {"action": "flag"}}
    base = {"name": "spoken", "version": 1, "guards": ["words"], "input": rules, "output": rules, "deadline_s": 30}
    return Policy.model_validate(base | changes)


@asynccontextmanager
async def gate(language, rules, *guards, reply="Hello."):
    metrics = Metrics()
    judges = BatchedJudges([*(guards or (WordGuard(WORDS),)), language], metrics)
    async with judges:
        yield Gate(ScriptedEngine(text_deltas(reply)), judges, MemoryLedger(), lambda _: rules, metrics)


async def run(gate, text):
    return [release async for release in answer(gate, asked(text), Caller("key_1", "acme"))]


def verdicts(gate, field="category"):
    return [v[field] for e in gate.ledger.of("verdict") for v in e["verdicts"]]


async def test_unread_input_is_flagged_by_default(language):
    """It passes, and goes to review with a verdict that names the language; English passes without a verdict."""
    async with gate(language, policy()) as g:
        assert text_of(await run(g, GERMAN)) == "Hello."
        assert (verdicts(g), verdicts(g, "action")) == (["language:de"], ["flag"])
        assert g.ledger.of("verdict")[0]["flagged"]
        await run(g, ENGLISH)
        assert len(verdicts(g)) == 1
    assert g.ledger.of("closed")[0]["scores"]["language"]["input"]["language:de"] > 0.99
    assert g.ledger.of("closed")[1]["scores"]["language"]["input"] == {"language:en": 1.0}


async def test_unread_input_may_be_refused(language):
    """`refuse` is a refusal of the policy like others: it names the language, and no guard has failed."""
    async with gate(language, policy(uncovered={"language": "refuse"})) as g:
        with pytest.raises(Refused) as refused:
            await run(g, GERMAN)
        assert refused.value.categories == ("language:de",)
        assert text_of(await run(g, ENGLISH)) == "Hello."


@pytest.mark.parametrize("action", ["flag", "refuse"])
async def test_unread_output_follows_the_policy_too(language, action):
    """What the model writes is held to the same; of a refused answer hardly more than a sentence has left."""
    async with gate(language, policy(uncovered={"language": action}), reply=(GERMAN + " ") * 8) as g:
        releases = await run(g, ENGLISH)
    assert verdicts(g) == ["language:de"]
    if action == "flag":
        assert text_of(releases) == (GERMAN + " ") * 8
    else:
        assert finish_of(releases).finish_reason == "content_filter"
        assert len(text_of(releases)) < 2 * len(GERMAN)


async def test_a_guard_that_was_measured_covers_its_language(language):
    """Figures of one guard of the policy are enough, category by category, from `language_recall` on."""
    german, english = German(WORDS, "german"), WordGuard(WORDS)
    for recall, flagged in ((0.6, []), (0.61, ["language:de"])):
        rules = policy(guards=["words", "german"], uncovered={"language_recall": recall})
        async with gate(language, rules, english, german) as g:
            await run(g, GERMAN)
            assert verdicts(g) == flagged
    async with gate(language, policy(guards=["german"]), german) as g:
        await run(g, ENGLISH)
        assert verdicts(g) == ["language:en"]


async def test_rules_read_any_language_and_cover_none_for_others(language):
    """Where only rules judge a category its language does not matter; beside a model they do not speak for it."""
    rule = Characters(WORDS, "rules")
    async with gate(language, policy(guards=["rules"]), rule) as g:
        await run(g, GERMAN)
        assert verdicts(g) == []
    async with gate(language, policy(guards=["rules", "words"]), rule, WordGuard(WORDS)) as g:
        await run(g, GERMAN)
        assert verdicts(g) == ["language:de"]


async def test_a_language_may_be_taken_on_the_operators_word(language):
    """`accepted_languages` cover a language without figures, and only that one."""
    async with gate(language, policy(uncovered={"accepted_languages": ["de"]})) as g:
        await run(g, GERMAN)
        await run(g, "Le train de Lyon partira aujourd'hui avec une heure de retard à cause d'un incident.")
        assert verdicts(g) == ["language:fr"]


async def test_unread_text_is_escalated(language):
    """The guard named by `escalate` judges unread text only; its findings count like those of others."""
    strong = WordGuard({"harm": "Bombe"}, "strong")
    rules = policy(escalate="strong", uncovered={"language": "escalate"})
    async with gate(language, rules, WordGuard(WORDS), strong) as g:
        await run(g, GERMAN)
        await run(g, ENGLISH)
        assert verdicts(g) == []
        assert {p.text for p in strong.judged} == {GERMAN}
        with pytest.raises(Refused):
            await run(g, f"{GERMAN} Bombe")
        assert verdicts(g, "guard") == ["strong"]


async def test_a_failed_escalation_is_no_clean_verdict(language):
    """When the stronger guard fails, `on_error` decides; the passage was not judged."""
    rules = policy(escalate="strong", uncovered={"language": "escalate"})
    async with gate(language, rules, WordGuard(WORDS), BrokenGuard(WORDS, name="strong")) as g:
        with pytest.raises(GuardUnavailable):
            await run(g, GERMAN)
        assert text_of(await run(g, ENGLISH)) == "Hello."


@pytest.mark.parametrize(("on_error", "action"), [("refuse", "refuse"), ("allow", "allow"), ("flag", "flag")])
def test_a_language_that_could_not_be_told_follows_on_error(on_error, action):
    """A language guard that fails is a failed guard."""
    words = Judgement("words", "1", "d", frozenset(WORDS), WordGuard(WORDS).judge([Passage("hi")])[0])
    failed = Judgement("language", "1", "d", frozenset(), error="deadline")
    decision = decide(Passage("hi"), [words, failed], policy(on_error=on_error))
    assert (decision.action, decision.guard_failed) == (action, action == "refuse")
    assert [v.error for v in decision.verdicts] == ["deadline"]


def test_without_escalation_nothing_passes_as_escalated(language):
    """Judgements without that of the guard to escalate to are an error, whoever made them."""
    words = Judgement("words", "1", "d", frozenset(WORDS), WordGuard(WORDS).judge([Passage(GERMAN)])[0], languages={})
    found = Judgement("language", "1", "d", language.covers("input"), language.judge([Passage(GERMAN)])[0])
    rules = policy(escalate="strong", uncovered={"language": "escalate"})
    assert decide(Passage(GERMAN), [words, found], rules).guard_failed
