"""The wire to remote guards: bounded in time and size, to the configured host and no other."""

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

import aiohttp
import orjson

from guards.guard import GuardError
from guards.transport import Endpoint, Json, Unreachable

T = TypeVar("T")

MOST_BYTES: Final = 4_000_000  # of one answer
RETRIES: Final = 2  # of a connection that failed; an answer, however bad, is final
PAUSE_S: Final = 0.05
PASSAGES_FAULT: Final = frozenset({400, 413, 422, 500})  # what one body may cause; the rest is the far end's state
KEEPALIVE_S: Final = 3.0  # below uvicorn's 5: a connection must not be reused while the server closes it


class HttpTransport:
    """`guards.transport.Transport` on an event loop of its own, in a daemon thread: guards block in theirs.

    Proxies of the environment, cookies, redirects and compressed answers play no part; certificates are verified.

    Raises:
        GuardError: `key_env` names a variable that is not set.
    """

    def __init__(self, endpoint: Endpoint, *, most_bytes: int = MOST_BYTES) -> None:
        self._endpoint, self._most_bytes = endpoint, most_bytes
        self._headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"} | _key(endpoint)
        self._places = asyncio.Semaphore(endpoint.at_once)
        self._session: aiohttp.ClientSession | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="guard-transport", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # guards live as long as the process, and nobody else ends what is theirs

    def post(self, path: str, bodies: Sequence[Json]) -> list[Json]:
        return self._run(self._post(self._endpoint.url + path, bodies))

    def close(self) -> None:
        """Ends the connections and the thread; nothing can be posted after it."""
        atexit.unregister(self.close)
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _post(self, url: str, bodies: Sequence[Json]) -> list[Json]:
        session = self._opened()

        async def one(body: Json) -> Json:
            async with self._places:
                return await self._answer(session, url, orjson.dumps(body))

        try:
            async with asyncio.timeout(self._endpoint.timeout_s):
                answers = await asyncio.gather(*map(one, bodies), return_exceptions=True)
        except TimeoutError as error:
            raise Unreachable("timeout") from error
        failed = [a for a in answers if isinstance(a, BaseException)]
        if failed:
            raise next((f for f in failed if isinstance(f, Unreachable)), failed[0])
        return [a for a in answers if not isinstance(a, BaseException)]

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:  # made here: it belongs to the loop that uses it
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None),  # the batch has one
            )
        return self._session

    async def _answer(self, session: aiohttp.ClientSession, url: str, body: bytes) -> Json:
        for attempt in range(RETRIES + 1):
            try:
                return await self._once(session, url, body)
            except (aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch) as error:
                raise Unreachable("its certificate cannot be verified") from error
            except aiohttp.ClientConnectionError as error:
                if attempt == RETRIES:
                    raise Unreachable("no connection") from error
            except aiohttp.ClientError as error:
                raise Unreachable(f"the answer broke off ({type(error).__name__})") from error
            await asyncio.sleep(PAUSE_S * 2**attempt)
        raise AssertionError("unreachable")

    async def _once(self, session: aiohttp.ClientSession, url: str, body: bytes) -> Json:
        async with session.post(url, data=body, allow_redirects=False) as response:
            if response.status != 200:
                raise _refusal(response.status)
            read = bytearray()
            async for chunk in response.content.iter_any():
                read += chunk
                if len(read) > self._most_bytes:
                    response.close()
                    raise GuardError(f"the answer is larger than {self._most_bytes} bytes")
        return _parsed(bytes(read))


def _key(endpoint: Endpoint) -> dict[str, str]:
    if endpoint.key_env is None:
        return {}
    key = os.environ.get(endpoint.key_env, "").strip()
    if not key:
        raise GuardError(f"{endpoint.key_env} is not set: put the key of {endpoint.url} into the environment")
    return {"Authorization": f"Bearer {key}"}


def _refusal(status: int) -> GuardError:
    if status in PASSAGES_FAULT:
        return GuardError(f"status {status}")
    hint = {401: ": is the key in key_env right?", 404: ": is the url right?"}
    return Unreachable(f"status {status}{hint.get(status, '')}")


def _parsed(body: bytes) -> Json:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise GuardError("unparsable: the answer is not JSON") from error
    if not isinstance(answer, dict):
        raise GuardError("unparsable: the answer is no JSON object")
    return answer
