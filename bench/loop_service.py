"""The live service of the loop's demo: started, asked, reviewed, looked at."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np

from guards.classifier import Classifier
from guards.verdict import Passage
from training.rows import Row

AT_ONCE: Final = 16
BIN: Final = Path(sys.executable).parent
RETRYABLE: Final = (429, 503)
TRIES: Final = 20
KEYS: Final = {"client": "CLIENT_KEY", "admin": "ADMIN_KEY"}


async def serving(work: Path, keys: Mapping[str, str]) -> AsyncIterator[str]:
    """`sluicegate serve` with the real engine, until closed; its URL once it is ready."""
    with socket_free() as port:
        url = f"http://127.0.0.1:{port}"
    given = {
        "HOME": work / "home",
        "POLICY": work / "policy.yaml",
        "GUARDS": work / "guards.yaml",
    }
    given |= {"PORT": port, "CONSOLE": "false", "REQUESTS_PER_MINUTE": 1_000_000, "LOG_LEVEL": "warning"}
    given |= {KEYS[role]: key for role, key in keys.items()}
    environment = os.environ | {f"SLUICEGATE_{name}": str(value) for name, value in given.items()}
    with (work / "serve.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            BIN / "sluicegate", "serve", env=environment, stdout=log, stderr=log
        )
    try:
        await ready(url, process, work / "serve.log")
        yield url
    finally:
        process.terminate()
        await process.wait()


@contextmanager
def socket_free() -> Iterator[int]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        yield int(found.getsockname()[1])


async def ready(url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    async with aiohttp.ClientSession() as http:
        while process.returncode is None:
            try:
                async with http.get(f"{url}/health/ready") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(1)
    sys.exit(f"error: the service ended; see {log}")


@asynccontextmanager
async def session(url: str, key: str) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(url, headers={"authorization": f"Bearer {key}"}, timeout=timeout) as http:
        yield http


async def ask_all(client: aiohttp.ClientSession, rows: Sequence[Row]) -> dict[str, Row]:
    """Asks each text; one token is generated, so that there is an answer to judge. Exchange id -> its row."""
    async with client.get("/v1/models") as response:
        model = (await response.json())["data"][0]["id"]
    slots, asked = asyncio.Semaphore(AT_ONCE), {}

    async def ask(row: Row) -> None:
        body = {"model": model, "messages": [{"role": "user", "content": row.text}], "max_tokens": 1}
        async with slots:
            for again in range(TRIES):
                async with client.post("/v1/chat/completions", json=body) as response:
                    await response.read()
                    if response.status not in RETRYABLE or again == TRIES - 1:
                        response.raise_for_status()
                        asked[response.headers["x-sluicegate-exchange"]] = row
                        return
                await asyncio.sleep(1)

    await asyncio.gather(*map(ask, rows))
    return asked


async def review(admin: aiohttp.ClientSession, asked: Mapping[str, Row], count: int) -> dict[str, int]:
    """The scripted reviewer: takes what comes next and says what people said of it, `count` times."""
    done = {"harmful": 0, "ok": 0}
    while sum(done.values()) < count:
        async with admin.post("/v1/review/next", json={}) as response:
            response.raise_for_status()
            claim = await response.json()
        if claim["token"] is None:
            await asyncio.sleep(0.2)  # the shipper is on its way
            continue
        row = asked[claim["item"]["exchange_id"]]
        named = sorted(c for c, label in row.labels.items() if label)
        said: dict[str, Any] = {"input": "harmful", "categories": named} if named else {"input": "ok"}
        async with admin.post("/v1/review/decide", json={"token": claim["token"]} | said) as response:
            response.raise_for_status()
        done[said["input"]] += 1
    return done


async def in_force(client: aiohttp.ClientSession, folder: Path, rows: Sequence[Row], category: str) -> bool:
    """Whether the live service scores texts as the guard in `folder` does; gateways look every two seconds."""
    wanted = scores(folder, rows, category)
    for _ in range(20):
        async with client.post("/v1/moderations", json={"input": [r.text for r in rows]}) as response:
            results = (await response.json())["results"]
        found = np.array([r["sluicegate"]["category_scores"][category] for r in results])
        if np.abs(found - wanted).max() < 0.02:
            return True
        await asyncio.sleep(1)
    return False


def scores(folder: Path, rows: Sequence[Row], category: str) -> np.ndarray:
    judged = Classifier(folder, threads=2, batch_tokens=8192).judge([Passage(r.text) for r in rows])
    return np.array([s.by_category[category] for s in judged])
