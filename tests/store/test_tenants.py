"""What is stored of whom: the policy of each tenant decides, through the real gate and the real ledger."""

from contextlib import aclosing, suppress

import sqlalchemy as sa

from guards.policy import parse_file
from guards.verdict import Passage
from service.gate.exchange import Asked, Caller, Refused
from service.gate.pipeline import Gate, answer
from service.judges import BatchedJudges
from service.ledger.models import Exchange
from service.policies import PoliciesInForce
from service.telemetry.metrics import Metrics
from tests.fakes import ScriptedEngine, WordGuard

FILE = """
name: stored
version: 1
guards: [words]
input: {harm: {action: refuse}}
tenants:
  silent: {store: none}
  counted: {store: metadata}
  kept: {store: sampled, sample_share: 1}
keys:
  key_loud: {store: flagged, sample_share: 0}
"""
CALLERS = {
    "everybody": Caller("key_1", "other"),
    "silent": Caller("key_2", "silent"),
    "counted": Caller("key_3", "counted"),
    "kept": Caller("key_4", "kept"),
    "loud": Caller("key_loud", "silent"),
}
LEVELS = {  # exchanges stored and texts kept, of a clean one and a refused one
    "everybody": {"hello": False, "a BOMB": True},
    "silent": {"a BOMB": False},
    "counted": {"hello": False, "a BOMB": False},
    "kept": {"hello": True, "a BOMB": True},
    "loud": {"hello": False, "a BOMB": True},
}


async def test_each_tenant_has_stored_what_its_policy_says(running, store):
    """Of clean and of refused exchanges exactly what the caller's own policy keeps is there, and under its digest."""
    policies = PoliciesInForce(parse_file(FILE), [guard := WordGuard({"harm": "BOMB"})], Metrics())
    prompts: dict[str, tuple[str, str]] = {}
    async with running() as ledger, BatchedJudges([guard], Metrics()) as judges:
        gate = Gate(ScriptedEngine(), judges, ledger, policies, Metrics())
        for name, caller in CALLERS.items():
            for text in ("hello", "a BOMB"):
                asked = Asked("chat", {"model": "m"}, (Passage(text),), lambda texts: {"model": texts[0]})
                prompts[asked.id] = name, text
                with suppress(Refused):
                    async with aclosing(answer(gate, asked, caller)) as releases:
                        assert [r async for r in releases]
        assert await ledger.drain(20)
    async with store.read() as session:
        exchanges = {e.id: e for e in await session.scalars(sa.select(Exchange))}
    stored = {name: {} for name in CALLERS}
    for exchange_id, exchange in exchanges.items():
        name, text = prompts[exchange_id]
        stored[name][text] = text in str(await store.texts(exchange_id))
        assert exchange.policy_digest == policies(CALLERS[name]).digest
    assert stored == LEVELS
