"""Where versions stand: registered, shadow, canary, enforced, retired. Of a name, one each in the middle three."""

import time
from collections.abc import Sequence
from typing import Final, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.learning.errors import LearningError, Unknown
from service.learning.lineage import Version, model, promoted
from service.ledger.lineage import ModelRow, PromotionRow, StageRow
from service.ledger.models import ApiKey
from service.ledger.store import Store

To = Literal["shadow", "canary", "enforced", "retired"]
DONE: Final[dict[To, str]] = {"shadow": "shadow", "canary": "canary", "enforced": "enforce", "retired": "retire"}
_RACE: Final = "somebody else moved a version at the same moment; look again"
GIVEN_KEYS: Final = frozenset({"key_client", "key_admin"})  # of the settings: not in the database


async def move(
    store: Store,
    name: str,
    version: str,
    to: To,
    by: str,
    *,
    share: float | None = None,
    keys: Sequence[str] = (),
    reason: str = "",
    override: bool = False,
    four_eyes: bool = False,
) -> Version:
    """Moves a version; what stood there gives way: an enforced one retires, another is registered only.

    Args:
        share: of exchanges that a canary judges, by the hash of their ids; `keys`: whose exchanges it judges all.
        override: although its gates did not pass; the caller has made sure that `by` may.
        four_eyes: whoever registered it may not be the one who lets it decide.

    Raises:
        Unknown, LearningError: it says why not.
    """
    found = await model(store, name, version)
    _check(found, to, by, share, keys, reason, override, four_eyes)
    try:
        async with store.write() as connection:
            await _known(connection, keys)
            replaced = await _give_way(connection, found, to)
            await _set(connection, found.id, to, share, keys)
            detail = {"replaced": replaced, "share": share, "key_ids": list(keys), "reason": reason}
            override = override and not found.gates.get("passed")
            await promoted(store, connection, by, name, found.id, DONE[to], **detail, override=override)
    except IntegrityError:
        raise LearningError(_RACE) from None
    return await model(store, name, version)


async def rollback(store: Store, name: str, by: str, reason: str) -> tuple[str | None, str]:
    """One step back, at once: a canary ends; without one, what was enforced before is enforced again.

    Returns what is enforced now (None: the guards that the gateways were started with) and what is not any more.

    Raises:
        Unknown: nothing has this name.
        LearningError: there is nothing to roll back.
    """
    try:
        async with store.write() as connection:
            if not await connection.scalar(sa.select(sa.func.count()).where(ModelRow.name == name)):
                raise Unknown(f"there is no model {name!r}; they are in GET /v1/learning/models")
            standing = {row.stage: row.model_id for row in await connection.execute(_of(name))}
            back: str | None = standing.get("enforced")
            gone = standing.get("canary") or back
            if gone is None:
                raise LearningError(f"no version of {name!r} is in force: what the gateways were started with is")
            if gone == back:
                back = _before((await connection.execute(_history(name))).all())
                await _set(connection, gone, "retired")
                if back is not None:
                    await _set(connection, back, "enforced")
            else:
                await _set(connection, gone, "registered")
            await promoted(store, connection, by, name, back, "rollback", replaced=gone, reason=reason)
    except IntegrityError:
        raise LearningError(_RACE) from None
    return back, gone


def _check(
    found: Version,
    to: To,
    by: str,
    share: float | None,
    keys: Sequence[str],
    reason: str,
    override: bool,
    four_eyes: bool,
) -> None:
    if found.stage == to != "canary":
        raise LearningError(f"{found.id} is {to} already")
    if found.stage == "enforced":
        raise LearningError(f"{found.id} is enforced: roll it back, or enforce another one")
    if to == "retired":
        return
    if found.kind == "adapter" and to == "shadow":
        raise LearningError("an adapter has no shadow: it writes answers, and nobody would read them; use a canary")
    if (to == "canary") != (share is not None or bool(keys)):
        raise LearningError("a canary, and no other stage, has a share, keys, or both")
    if not found.gates.get("passed"):
        _overridden(found, reason, override)
    if four_eyes and to in ("canary", "enforced") and by == found.by:
        raise LearningError(f"{found.id} was registered with this key; somebody else must let it decide")


def _overridden(found: Version, reason: str, override: bool) -> None:
    failed = [str(c.get("name")) for c in found.gates.get("checks", ()) if not c.get("passed")]
    if not override:
        why = f"failed: {', '.join(failed[:5])}" if failed else "they were not run"
        raise LearningError(f"{found.id} did not pass its gates ({why}); an admin may override that, with a reason")
    if not reason.strip():
        raise LearningError("say why the gates are overridden: `reason`")


def _before(history: Sequence["sa.Row[str | None, str, str | None]"]) -> str | None:
    """What was enforced before what is now; what was retired on purpose since does not come back."""
    enforced: list[str | None] = [None]
    for step in history:
        if step.action == "enforce":
            enforced.append(step.model_id)
        elif step.action == "rollback" and step.replaced == enforced[-1]:  # another one was a canary
            enforced.pop()
        elif step.action == "retire":
            enforced = [model_id for model_id in enforced if model_id != step.model_id]
    return enforced[-2] if len(enforced) > 1 else None


def _history(name: str) -> "sa.Select[str | None, str, str | None]":
    columns = PromotionRow.model_id, PromotionRow.action, PromotionRow.replaced
    return sa.select(*columns).where(PromotionRow.name == name).order_by(PromotionRow.seq)


def _of(name: str) -> "sa.Select[str, str]":
    return sa.select(StageRow.model_id, StageRow.stage).where(StageRow.name == name)


async def _known(connection: AsyncConnection, keys: Sequence[str]) -> None:
    live = sa.select(ApiKey.id).where(ApiKey.id.in_(keys), ApiKey.revoked_at.is_(None))
    if unknown := sorted(set(keys) - GIVEN_KEYS - set(await connection.scalars(live))):
        raise LearningError(f"there is no live key {unknown[0]}; the ids are in: sluicegate keys list")


async def _give_way(connection: AsyncConnection, moving: Version, to: To) -> str | None:
    """Who stood there and must leave first: the database takes one of a name in each stage."""
    if to == "retired":
        return None
    taken = _of(moving.name).where(StageRow.stage == to, StageRow.model_id != moving.id)
    if (other := (await connection.execute(taken)).first()) is None:
        return None
    await _set(connection, other.model_id, "retired" if to == "enforced" else "registered")
    return str(other.model_id)


async def _set(
    connection: AsyncConnection, model_id: str, stage: str, share: float | None = None, keys: Sequence[str] = ()
) -> None:
    values = {"stage": stage, "share": share, "key_ids": list(keys), "at": time.time()}
    await connection.execute(sa.update(StageRow).where(StageRow.model_id == model_id).values(**values))
