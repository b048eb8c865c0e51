"""What the policy files said that were in force."""

import pytest
import sqlalchemy as sa

from guards.policy import Policies, parse_file
from service.ledger.models import PolicyPart, PolicyRow
from service.ledger.policies import PolicyNotes, note, noted, said_by
from service.policies import PoliciesInForce
from service.telemetry.metrics import Metrics
from tests.fakes import WordGuard

FILE = """
# why: asked for by the shop
name: own
version: {version}
guards: [words]
input: {{harm: {{action: flag}}}}
tenants:
  acme: {{lookahead_chars: 30}}
"""


async def test_every_digest_that_an_exchange_names_leads_to_a_text(store):
    """The file is kept as it was read, comments too, and found by its digest and by that of each of its policies."""
    policies = parse_file(text := FILE.format(version=1))
    assert await note(store, policies, 5.0, "gateway-a")
    assert not await note(store, policies, 6.0, "gateway-b")
    (row,) = await noted(store, 10)
    assert (row.digest, row.name, row.version, row.text) == (policies.digest, "own", 1, text)
    assert (row.at, row.by) == (5.0, "gateway-a")
    digests = {policy.digest for policy in policies.resolved.values()}
    assert len(digests) == 2
    assert [(await said_by(store, d)).digest for d in digests] == [policies.digest] * 2
    assert await said_by(store, "unknown") is None


async def test_what_was_noted_is_never_changed(store):
    """The database refuses to change or delete what a policy file said."""
    await note(store, parse_file(FILE.format(version=1)), 5.0, "gateway-a")
    for statement in (
        sa.update(PolicyRow).values(text="another"),
        sa.delete(PolicyPart),
        sa.delete(PolicyRow),
    ):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"):
            async with store.write() as connection:
                await connection.execute(statement)


async def test_a_policy_is_noted_when_it_is_taken_into_force(store, tmp_path):
    """The one of the start, and each that a changed file brings; while the database is away they wait their turn."""
    path, notes = tmp_path / "policy.yaml", PolicyNotes(store, "gateway-a")
    first = parse_file(FILE.format(version=1))
    policies = PoliciesInForce(first, (WordGuard({"harm": "BOMB"}),), Metrics(), path, taken=notes.take)
    await rename(store, "policies", "gone")
    with pytest.raises(sa.exc.SQLAlchemyError):
        await notes()
    for version in (2, 1, 3):
        path.write_text(FILE.format(version=version))
        await policies.look(path, at_once=True)
    await rename(store, "gone", "policies")
    await notes()
    assert [row.version for row in await noted(store, 10)] == [3, 2, 1]
    path.write_text("name: [")
    await policies.look(path, at_once=True)
    await notes()
    assert len(await noted(store, 10)) == 3


async def rename(store, table, to):
    async with store.write() as connection:
        await connection.execute(sa.text(f"ALTER TABLE {table} RENAME TO {to}"))


async def test_a_policy_of_no_file_is_noted_as_it_is_understood():
    """Policies that were made in a program have a text all the same, which says the same when it is read."""
    policies = Policies.only(parse_file(FILE.format(version=1)).base)
    assert parse_file(policies.text).digest == policies.digest
