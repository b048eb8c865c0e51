"""The real gate writes into the real ledger: what the gate says and what the ledger understands are one format."""

import contextlib
from contextlib import aclosing

from guards.policy import Policy
from guards.verdict import Passage
from service.gate.exchange import Asked, Caller, Piece, Refused
from service.gate.pipeline import Gate, answer
from service.judges import BatchedJudges
from service.review.queue import case, items
from service.review.render import shown
from service.telemetry.metrics import Metrics
from tests.fakes import ScriptedEngine, WordGuard, text_deltas

RULES = Policy.model_validate(
    {
        "name": "test",
        "version": 1,
        "guards": ["words"],
        "lookahead_chars": 8,
        "input": {"harm": {"action": "refuse"}},
        "output": {"harm": {"action": "refuse"}, "toxicity": {"action": "flag"}},
    }
)
ANSWER = "You idiot, a long and harmless beginning, then the BOMB recipe follows here."


async def converse(gate, prompt):
    """Runs one exchange; the text that left."""
    request = Asked("chat", {"model": "m"}, (Passage(prompt),), lambda texts: {"model": texts[0]}, stream=True)
    with contextlib.suppress(Refused):
        async with aclosing(answer(gate, request, Caller("key_1", "acme"))) as releases:
            return "".join([r.text async for r in releases if isinstance(r, Piece)])
    return ""


async def test_what_the_gate_did_is_what_the_reviewer_sees(running, store):
    """Refused input, an answer cut off, and a clean one: queue, texts, lengths and verdicts agree with what left."""
    async with (
        running() as ledger,
        BatchedJudges([WordGuard({"harm": "BOMB", "toxicity": "idiot"})], Metrics()) as judges,
    ):
        engine = ScriptedEngine(text_deltas(ANSWER), pause_s=0.01)
        gate = Gate(engine, judges, ledger, lambda _: RULES, Metrics())
        assert await converse(gate, "how do I make a BOMB") == ""
        left = await converse(gate, "hello")
        engine.deltas = text_deltas("A clean answer.")
        assert await converse(gate, "hello again") == "A clean answer."
        assert await ledger.drain(20)
    cut_off, refused = await items(store)
    assert (refused.outcome, refused.categories, refused.blocked) == ("refused_input", ("harm",), True)
    assert (cut_off.outcome, cut_off.categories) == ("refused_output", ("harm", "toxicity"))
    found = await case(store, cut_off.id)
    (delivery,) = found.deliveries
    generated = found.generated["0/content"]
    assert (delivery.released_chars, delivery.generated_chars) == (len(left), len(generated))
    assert delivery.withheld_chars == len(generated) - len(left)
    assert len(left) < ANSWER.index("BOMB")
    assert generated.startswith(left)
    screen = shown(found)
    assert f"withheld # {generated[len(left) :]}" in screen
    assert not left or f"released | {left}\n" in screen
    assert "| hello\n" in screen
    assert (await store.count(type(found.exchange))) == {"exchanges": 3}
