"""Reviewers of the demonstration: they decide most of what waits, by program, and leave the rest to whoever looks."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import aiohttp

from guards.trigger import START

LEAVE: Final = 12  # items for a newcomer
UNSURE_EACH: Final = 7  # of so many items a reviewer is unsure: a lead has something to settle


@dataclass(frozen=True, slots=True)
class Staff:
    """Keys: of two moderators or more, and of an operator."""

    moderators: Sequence[str]
    operator: str


def decision(item: dict[str, Any], unsure: bool = False) -> dict[str, Any]:
    """What somebody would say who knows that of these texts only the trigger texts are harmful. Pure."""
    asked, generated = ("".join(p["text"] for p in item["parts"] if _asked(p) is side) for side in (True, False))
    bad = {"input": START in asked, "output": START in generated}
    held = item["outcome"].startswith("refused")
    said: dict[str, Any] = {side: "harmful" if found else "ok" for side, found in bad.items()}
    if unsure:
        return {"input": "unsure", "note": "Is a joke about this allowed? The policy does not say."}
    if not generated:
        del said["output"]
    harmful = any(bad.values())
    said["action"] = "correct" if harmful == held else "over_block" if held else "missed"
    said["confidence"] = 0.75
    return said | ({"categories": item["categories"], "severity": 2} if harmful and item["categories"] else {})


def _asked(part: dict[str, Any]) -> bool:
    return str(part["name"]).startswith("asked/")


async def review(url: str, staff: Staff, leave: int = LEAVE) -> Counter[str]:
    """Decides in turns until `leave` items wait; how many were decided, and how many with doubt."""
    done = Counter[str]()
    async with aiohttp.ClientSession(url, raise_for_status=True) as session:
        for number in count(1):
            if await _waiting(session, staff.moderators[0]) <= leave:
                break
            key = staff.moderators[number % len(staff.moderators)]
            claimed = await _post(session, "/v1/review/next", key, {})
            if claimed["token"] is None:
                break
            unsure = number % UNSURE_EACH == 0
            body = {"token": claimed["token"]} | decision(claimed["item"], unsure)
            await _post(session, "/v1/review/decide", key, body)
            done["unsure" if unsure else "decided"] += 1
    return done


async def _waiting(session: aiohttp.ClientSession, key: str) -> int:
    """Items that wait; asked each time, for the ledger follows the traffic by moments."""
    return sum(c["open"] for c in (await _get(session, "/v1/review/counts", key))["data"])


async def dataset(url: str, staff: Staff) -> int:
    """Notes what was decided as a version of a dataset; how many rows it has."""
    bearer = {"authorization": f"Bearer {staff.operator}"}
    async with aiohttp.ClientSession(url, raise_for_status=True) as session:
        async with session.get("/v1/review/export?what=guards", headers=bearer) as response:
            data = await response.read()
        rows = [json.loads(line) for line in data.splitlines()]
        digest = hashlib.sha256(data).hexdigest()
        body = {"name": "demo", "version": digest[:12], "digest": digest, "manifest": {"rows": len(rows)}}
        body["exchanges"] = sorted({row.get("exchange_id") or row["group"] for row in rows})
        await _post(session, "/v1/learning/datasets", staff.operator, body)
    return len(rows)


async def _get(session: aiohttp.ClientSession, path: str, key: str) -> Any:
    async with session.get(path, headers={"authorization": f"Bearer {key}"}) as response:
        return await response.json()


async def _post(session: aiohttp.ClientSession, path: str, key: str, body: dict[str, Any]) -> Any:
    async with session.post(path, json=body, headers={"authorization": f"Bearer {key}"}) as response:
        return await response.json()
