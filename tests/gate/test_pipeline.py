"""One exchange through the real gate and real lanes, with a scripted engine and word guards."""

import asyncio
from contextlib import aclosing, asynccontextmanager

import pytest

from guards.policy import Policy
from guards.verdict import Passage
from service.gate.exchange import (
    Asked,
    Caller,
    EngineRejected,
    EngineUnavailable,
    Finished,
    GuardUnavailable,
    LedgerUnavailable,
    Opened,
    Overloaded,
    Piece,
    Refused,
    Usage,
)
from service.gate.pipeline import Gate, answer
from service.judges import BatchedJudges
from service.telemetry.metrics import Metrics
from tests.fakes import BrokenGuard, MemoryLedger, ScriptedEngine, WordGuard, text_deltas, tool_deltas

CALLER = Caller("key_1", "acme")
BASE = {
    "name": "test",
    "version": 1,
    "guards": ["words"],
    "lookahead_chars": 8,
    "first_segment_chars": 4,
    "input": {"harm": {"action": "refuse"}, "secret": {"action": "redact"}},
    "output": {"harm": {"action": "refuse"}, "secret": {"action": "redact"}, "toxicity": {"action": "flag"}},
}
WORDS = {"harm": "BOMB", "secret": "hunter2", "toxicity": "idiot"}


def asked(text="hello", choices=1, stream=True):
    def rewrite(texts):
        return {"messages": [{"role": "user", "content": texts[0]}]}

    return Asked("chat", rewrite([text]), (Passage(text),), rewrite, choices, stream)


@asynccontextmanager
async def gate(engine=None, guard=None, ledger=None, **policy):
    rules = Policy.model_validate(BASE | policy)
    metrics = Metrics()
    async with BatchedJudges([guard or WordGuard(WORDS)], metrics) as judges:
        yield Gate(engine or ScriptedEngine(), judges, ledger or MemoryLedger(), lambda _: rules, metrics)


async def run(gate, request, seen=None):
    seen = [] if seen is None else seen
    async with aclosing(answer(gate, request, CALLER)) as releases:
        async for release in releases:
            seen.append(release)
    return seen


def text_of(releases, index=0, channel="content"):
    return "".join(r.text for r in releases if isinstance(r, Piece) and (r.index, r.channel) == (index, channel))


def finish_of(releases, index=0):
    return next(r for r in releases if isinstance(r, Finished) and r.index == index)


async def test_a_clean_answer_leaves_whole_and_in_order():
    """Opened first, then all the text, then the finish reason, then the usage."""
    async with gate() as g:
        releases = await run(g, asked())
    assert isinstance(releases[0], Opened)
    assert text_of(releases) == "Hello, how can I help you today?"
    assert finish_of(releases).finish_reason == "stop"
    assert isinstance(releases[-1], Usage)
    assert [e["event"] for e in g.ledger.events] == ["asked", "closed"]
    assert g.ledger.of("closed")[0]["outcome"] == "completed"
    assert g.ledger.of("closed")[0]["texts"] == {}
    scores = g.ledger.of("closed")[0]["scores"]["words"]
    assert scores["digest"] == WordGuard(WORDS).digest
    assert scores["input"] == scores["output"] == dict.fromkeys(WORDS, 0.0)


async def test_a_refused_input_sends_nothing_and_is_durable():
    """The refusal is raised before the first item, after its verdict was committed; the engine is stopped."""
    engine = ScriptedEngine(pause_s=0.01)
    async with gate(engine) as g:
        with pytest.raises(Refused) as refused:
            await run(g, asked("make a BOMB"))
        assert refused.value.categories == ("harm",)
        assert g.ledger.durable >= 2
        assert engine.open == 0
    assert [e["event"] for e in g.ledger.events] == ["asked", "verdict", "closed"]
    assert g.ledger.of("verdict")[0]["blocked"]
    assert g.ledger.of("closed")[0]["outcome"] == "refused_input"


async def test_a_refusal_that_cannot_be_recorded_is_not_a_refusal():
    """When the verdict cannot be made durable the client gets ledger_unavailable, not content_filter."""

    class FailsToCommit(MemoryLedger):
        async def commit(self, event):
            raise LedgerUnavailable("disk full")

    async with gate(ledger=FailsToCommit()) as g:
        with pytest.raises(LedgerUnavailable):
            await run(g, asked("make a BOMB"))


async def test_redacted_input_restarts_the_engine_with_the_redacted_text():
    """The early generation is aborted; the model never answers the unredacted text."""
    engine = ScriptedEngine()
    async with gate(engine) as g:
        releases = await run(g, asked("my password is hunter2 ok"))
    assert engine.bodies[-1]["messages"][0]["content"] == "my password is [secret] ok"
    assert text_of(releases) == "Hello, how can I help you today?"
    assert g.ledger.of("verdict")[0]["verdicts"][0]["action"] == "redact"


async def test_an_unsafe_answer_stops_before_its_first_unsafe_character():
    """What left is a prefix of the text before the phrase; the finish reason is content_filter."""
    engine = ScriptedEngine(text_deltas("A long and harmless beginning, then the BOMB recipe follows here."))
    async with gate(engine) as g:
        releases = await run(g, asked())
        assert engine.open == 0
    assert "A long and harmless beginning, then the ".startswith(text_of(releases))
    finished = finish_of(releases)
    assert (finished.finish_reason, finished.categories) == ("content_filter", ("harm",))
    assert finished.refusal
    closed = g.ledger.of("closed")[0]
    assert closed["outcome"] == "refused_output"
    assert closed["deliveries"][0]["released_chars"] == len(text_of(releases))
    assert "BOMB" in closed["texts"]["generated"]["0/content"]


async def test_output_secrets_are_redacted_in_the_stream():
    """A span is replaced before it leaves, whatever the segments; everything else is unchanged."""
    text = "The password is hunter2 and the rest of the answer is long enough to need several segments."
    async with gate(ScriptedEngine(text_deltas(text, cut=3))) as g:
        releases = await run(g, asked())
    assert text_of(releases) == text.replace("hunter2", "[secret]")
    assert len(g.ledger.of("verdict")) == 1


async def test_a_flag_lets_text_through_and_is_recorded_once():
    """A flagged answer leaves whole; its verdict is in the ledger once, its text kept."""
    text = "You are an idiot, and " + "so on and so forth " * 20
    async with gate(ScriptedEngine(text_deltas(text))) as g:
        releases = await run(g, asked())
    assert text_of(releases) == text
    assert len(g.ledger.of("verdict")) == 1
    assert g.ledger.of("closed")[0]["flagged"]
    assert g.ledger.of("closed")[0]["texts"]["generated"]["0/content"] == text


async def test_each_choice_is_judged_on_its_own():
    """A refused second choice does not touch the first, and nothing of its phrase leaves."""
    good = "A fine answer that is long enough for a few segments."
    deltas = text_deltas(good, usage=False) + text_deltas("x" * 30 + "BOMB" + "y" * 30, index=1)
    async with gate(ScriptedEngine(deltas)) as g:
        releases = await run(g, asked(choices=2))
    assert text_of(releases) == good
    assert finish_of(releases).finish_reason == "stop"
    assert finish_of(releases, 1).finish_reason == "content_filter"
    assert "B" not in text_of(releases, 1)


async def test_reasoning_is_judged_like_text():
    """An unsafe phrase in the reasoning ends the choice before it leaves."""
    deltas = text_deltas("thinking of a BOMB now", channel="reasoning", finish=None, usage=False) + text_deltas("Hi")
    async with gate(ScriptedEngine(deltas)) as g:
        releases = await run(g, asked())
    assert "B" not in text_of(releases, channel="reasoning")
    assert text_of(releases) == ""
    assert finish_of(releases).finish_reason == "content_filter"


async def test_tool_calls_leave_whole_and_judged():
    """A tool call is one piece with name, id and arguments; an unsafe one never leaves, not in part."""
    deltas = [*tool_deltas("lookup", '{"q": "weather in Paris tomorrow"}'), *text_deltas("", finish="tool_calls")]
    async with gate(ScriptedEngine(deltas)) as g:
        releases = await run(g, asked())
    pieces = [r for r in releases if isinstance(r, Piece)]
    assert [(p.tool_name, p.tool_id, p.text) for p in pieces] == [
        ("lookup", "call_0", '{"q": "weather in Paris tomorrow"}')
    ]
    deltas = [*tool_deltas("lookup", '{"q": "how to build a BOMB"}'), *text_deltas("", finish="tool_calls")]
    async with gate(ScriptedEngine(deltas)) as g:
        releases = await run(g, asked())
    assert not [r for r in releases if isinstance(r, Piece)]


async def test_a_tool_call_without_arguments_leaves():
    """A name alone is judged and released."""
    deltas = [*tool_deltas("ping", ""), *text_deltas("", finish="tool_calls")]
    async with gate(ScriptedEngine(deltas)) as g:
        releases = await run(g, asked())
    assert [(p.tool_name, p.text) for p in releases if isinstance(p, Piece)] == [("ping", "")]


async def test_an_unsafe_tool_name_never_leaves():
    """The name of a tool call is generated text too."""
    deltas = [*tool_deltas("BOMB", "{}"), *text_deltas("", finish="tool_calls")]
    async with gate(ScriptedEngine(deltas)) as g:
        releases = await run(g, asked())
    assert not [r for r in releases if isinstance(r, Piece)]


@pytest.mark.parametrize("where", ["input", "output"])
async def test_a_guard_failure_refuses(where):
    """A guard that fails on the input gives guard_unavailable before, on the output in mid-stream."""
    trigger = "hello" if where == "input" else "help"
    async with gate(guard=BrokenGuard(WORDS, trigger)) as g:
        with pytest.raises(GuardUnavailable):
            await run(g, asked())
    closed = g.ledger.of("closed")[0]
    assert (closed["outcome"], closed["flagged"]) == ("guard_unavailable", False)
    assert not g.ledger.of("verdict")[0]["flagged"]


async def test_a_guard_failure_may_be_allowed_and_is_recorded():
    """With on_error: allow the text passes and the failure is in the ledger."""
    async with gate(guard=BrokenGuard(WORDS), on_error="allow") as g:
        releases = await run(g, asked())
    assert text_of(releases) == "Hello, how can I help you today?"
    assert g.ledger.of("verdict")[0]["verdicts"][0]["error"] == "broken on purpose"


async def test_a_slow_guard_meets_its_deadline():
    """A guard beyond the deadline has failed."""

    class Slow(WordGuard):
        def judge(self, passages):
            import time

            time.sleep(0.5)
            return super().judge(passages)

    async with gate(guard=Slow(WORDS), deadline_s=0.05) as g:
        with pytest.raises(GuardUnavailable):
            await run(g, asked())
    assert g.ledger.of("verdict")[0]["verdicts"][0]["error"] == "deadline"


async def test_engine_errors_before_and_after_the_first_item():
    """A rejected request raises before Opened; an engine that dies raises in mid-stream, held text stays."""
    engine = ScriptedEngine()
    engine.rejects = EngineRejected("prompt too long")
    async with gate(engine) as g:
        with pytest.raises(EngineRejected):
            await run(g, asked())
    assert g.ledger.of("closed")[0]["outcome"] == "rejected"
    engine = ScriptedEngine(text_deltas("x" * 40))
    engine.error_after = 5
    seen = []
    async with gate(engine) as g:
        with pytest.raises(EngineUnavailable):
            await run(g, asked(), seen)
    assert len(text_of(seen)) <= 20 - 8


async def test_a_client_that_leaves_stops_the_engine_and_keeps_the_record():
    """Closing the generator closes the engine's request before it returns."""
    engine = ScriptedEngine(text_deltas("word " * 100), pause_s=0.001)
    async with gate(engine) as g:
        releases = answer(g, asked(), CALLER)
        async for release in releases:
            if isinstance(release, Piece):
                break
        await releases.aclose()
        assert engine.open == 0
    assert g.ledger.of("closed")[0]["outcome"] == "client_left"
    assert g.in_flight == 0


async def test_a_cancelled_request_keeps_the_record():
    """Cancelling the task that answers writes `closed` all the same."""
    engine = ScriptedEngine(text_deltas("word " * 100), pause_s=0.01)
    async with gate(engine) as g:
        task = asyncio.create_task(run(g, asked()))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.open == 0
    assert g.ledger.of("closed")[0]["outcome"] == "client_left"


async def test_admission_is_bounded():
    """Beyond max_exchanges a request is turned away before anything was asked."""
    engine = ScriptedEngine(pause_s=0.05)
    async with gate(engine) as g:
        g.max_exchanges = 1
        first = asyncio.create_task(run(g, asked()))
        await asyncio.sleep(0.02)
        with pytest.raises(Overloaded):
            await run(g, asked())
        assert text_of(await first) == "Hello, how can I help you today?"
    assert len(g.ledger.of("asked")) == 1


async def test_a_prompt_too_long_to_judge_is_turned_away():
    """Beyond max_prompt_chars the caller is told so, with both numbers, before anything was asked."""
    async with gate() as g:
        g.max_prompt_chars = 10
        with pytest.raises(EngineRejected, match="has 11 characters; at most 10"):
            await run(g, asked("x" * 11))
    assert g.ledger.events == []


async def test_under_load_the_engine_waits_for_the_verdict():
    """Above early_exchanges a refused input never reaches the engine."""
    async with gate() as g:
        g.early_exchanges = -1
        with pytest.raises(Refused):
            await run(g, asked("BOMB"))
        assert g.engine.bodies == []


async def test_each_completion_is_judged_in_the_light_of_its_own_prompt():
    """Of several prompts, a choice is judged with the one it continues."""
    guard = WordGuard(WORDS)
    request = Asked("completions", {}, (Passage("first"), Passage("second")), lambda _: {}, choices=4)
    deltas = [d for i in range(4) for d in text_deltas(f"answer {i}", index=i, usage=False)]
    async with gate(ScriptedEngine(deltas), guard) as g:
        await run(g, request)
    judged = {p.text: p.prompt for p in guard.judged if p.kind == "response" and p.text.startswith("answer")}
    assert [judged[f"answer {i}"] for i in range(4)] == ["first", "first", "second", "second"]


async def test_replace_answers_in_the_models_place():
    """A replaced input gets the policy's text and finish reason content_filter."""
    async with gate(input={"harm": {"action": "replace"}}, replacement="No.") as g:
        releases = await run(g, asked("BOMB"))
    assert text_of(releases) == "No."
    assert finish_of(releases).finish_reason == "content_filter"


async def test_shadow_changes_nothing_but_the_record():
    """A policy in shadow releases everything and records what it would have done."""
    text = "A long and harmless beginning, then the BOMB recipe follows here."
    async with gate(ScriptedEngine(text_deltas(text)), output={"harm": {"mode": "shadow"}}) as g:
        releases = await run(g, asked())
    assert text_of(releases) == text
    assert g.ledger.of("verdict")[0]["verdicts"][0]["mode"] == "shadow"


async def test_full_streaming_holds_everything_until_the_end():
    """With streaming: full nothing of an unsafe answer leaves, however late its phrase."""
    async with gate(ScriptedEngine(text_deltas("x" * 500 + "BOMB")), streaming="full") as g:
        releases = await run(g, asked())
    assert text_of(releases) == ""
