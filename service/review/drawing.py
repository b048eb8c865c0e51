"""Draws candidate answers from a running service, so that each is judged like any other."""

import asyncio
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Final

import aiohttp

from service.gate.exchange import Json
from service.ledger.store import Store
from service.review.rankings import Drawn
from service.review.reviewer import ReviewError

TRIES: Final = 3  # for each answer that is wanted: some are refused, some are equal
ON_RECORD_S: Final = 10.0


async def draw(
    url: str, key: str, prompt: str, count: int = 3, models: Sequence[str] = (), max_tokens: int = 256
) -> list[Drawn]:
    """`count` different answers to a prompt, of the models in turn; by default of the first one served.

    Raises:
        ReviewError: the service cannot be asked, or fewer than two answers passed its gate.
    """
    found: dict[str, Drawn] = {}
    headers = {"authorization": f"Bearer {key}"}
    try:
        async with aiohttp.ClientSession(url, headers=headers, raise_for_status=_told) as session:
            models = models or [(await (await session.get("/v1/models")).json())["data"][0]["id"]]
            for model in islice(cycle(models), count * TRIES):
                body: Json = {"model": model, "messages": [{"role": "user", "content": prompt}], "temperature": 1.0}
                async with session.post("/v1/chat/completions", json=body | {"max_tokens": max_tokens}) as response:
                    one = (await response.json())["choices"][0] if response.status == 200 else None
                    exchange_id = response.headers.get("x-sluicegate-exchange", "")
                if one and one["finish_reason"] != "content_filter" and (text := one["message"]["content"]):
                    found.setdefault(text, Drawn(exchange_id, model, text))
                if len(found) == count:
                    break
    except aiohttp.ClientError as error:
        raise ReviewError(f"{url} cannot be asked for answers: {error}") from None
    if len(found) < 2:
        raise ReviewError("the gate let fewer than two different answers pass; try another prompt")
    return list(found.values())


async def on_record(store: Store, drawn: Sequence[Drawn]) -> None:
    """Waits until the exchanges are in the database. Raises ReviewError."""
    ids = {one.exchange_id for one in drawn}
    for _ in range(int(ON_RECORD_S / 0.2)):
        if await store.known(list(ids)) == ids:
            return
        await asyncio.sleep(0.2)
    raise ReviewError("the answers are not on record here; run this where the service's database is")


async def _told(response: aiohttp.ClientResponse) -> None:
    """A refusal is an answer that is none; anything else that is wrong would be so again."""
    if response.status >= 400 and '"content_filter"' not in (text := await response.text()):
        raise aiohttp.ClientError(f"HTTP {response.status}: {text[:200]}")
