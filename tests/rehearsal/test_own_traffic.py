import pytest

from guards.verdict import Passage
from service.gate.exchange import Asked, Caller, GateError
from service.gate.pipeline import Gate, answer
from service.judges import BatchedJudges
from service.ledger.ledger import SqlLedger
from service.rehearsal.replay import EXEMPT, Candidate, replay
from service.settings import Settings
from service.telemetry.metrics import Metrics
from tests.fakes import BrokenGuard, ScriptedEngine, WordGuard, text_deltas
from tests.rehearsal.conftest import WORDS, policy

FINE = "A quiet answer about gardens and rivers. " * 8
RULES = policy(
    input={"harm": {}, "injection": {"action": "flag"}, "card": {"action": "redact"}},
    exempt={"system": ["injection"]},
    store="sampled",
    sample_share=1.0,
)
TALKS = [
    ([("prompt", "hello")], FINE, "allowed"),
    ([("prompt", "a storm")], FINE, "refused"),
    ([("prompt", "override it")], FINE, "flagged"),
    ([("prompt", "card 4111 please")], FINE, "redacted"),
    ([("prompt", "hello")], FINE + "a flood" + FINE, "refused"),
    ([("prompt", "hello")], "card 4111", "redacted"),
    ([("system", "override it"), ("prompt", "hello")], FINE, "allowed"),
    ([("prompt", "one"), ("tool_result", "two"), ("prompt", "a storm")], FINE, "refused"),
]


@pytest.fixture
async def store(tmp_path):
    """A real ledger with what the real gate did for each of the talks."""
    ledger = SqlLedger(Settings(home=tmp_path))
    await ledger.start()
    async with BatchedJudges([WordGuard(WORDS)], Metrics()) as judges:
        for passages, text, _ in TALKS:
            gate = Gate(ScriptedEngine(text_deltas(text)), judges, ledger, lambda _: RULES, Metrics())
            texts = tuple(Passage(t, kind) for kind, t in passages)
            asked = Asked("chat", {"model": "m"}, texts, lambda _: {"model": "m"}, stream=True)
            try:
                async for _ in answer(gate, asked, Caller("key_1", "acme")):
                    pass
            except GateError:
                pass
    assert await ledger.drain(20)
    yield ledger.store
    await ledger.stop()


def before(found):
    return [r.states[0] for r in reversed(found)]


async def test_a_policy_over_its_own_traffic_changes_nothing(store):
    """Replayed from scores, every exchange goes as it went, but for the one whose score may be of an exempt text."""
    found = await replay(store, Candidate(lambda _: RULES, {"words": WordGuard(WORDS)}), 0, 100)
    assert before(found) == [state for *_, state in TALKS]
    assert [r.unknown for r in reversed(found)] == ["", "", "", "", "", "", EXEMPT, ""]
    assert all(r.states[0] == r.states[1] for r in found if not r.unknown)


async def test_judged_anew_it_changes_nothing_either(store):
    """With the kept texts, every exchange goes as it went, exempt texts included."""
    async with BatchedJudges([WordGuard(WORDS)], Metrics()) as judges:
        candidate = Candidate(lambda _: RULES, {"words": WordGuard(WORDS)}, judges=judges)
        found = await replay(store, candidate, 0, 100)
    assert all(r.rejudged and not r.unknown for r in found)
    assert [r.states for r in reversed(found)] == [(state, state) for *_, state in TALKS]


async def test_another_policy_changes_what_it_should(store):
    """A candidate that flags where harm was refused shows it for just those prompts, whichever way it is replayed."""
    laxer = RULES.model_copy(update={"input": RULES.input | {"harm": RULES.input["injection"]}})
    async with BatchedJudges([WordGuard(WORDS)], Metrics()) as judges:
        for judging in (None, judges):
            candidate = Candidate(lambda _: laxer, {"words": WordGuard(WORDS)}, judges=judging)
            found = await replay(store, candidate, 0, 100)
            flipped = [i for i, r in enumerate(reversed(found)) if not r.unknown and r.states[0] != r.states[1]]
            assert flipped == [1, 7]


async def test_a_guard_that_fails_now_is_no_clean_verdict(store):
    """Judged anew by a guard that is broken, everything is unavailable and nothing is allowed."""
    broken = BrokenGuard(WORDS)
    async with BatchedJudges([broken], Metrics()) as judges:
        found = await replay(store, Candidate(lambda _: RULES, {"words": broken}, judges=judges), 0, 100)
    assert {r.states[1] for r in found} == {"unavailable"}
