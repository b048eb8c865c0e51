"""Speaks to vLLM: one pooled session, always streaming, as little work a chunk as Python allows."""

import hashlib
import hmac
import re
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from typing import Final

import aiohttp
import orjson

from service.engine.adapters import Adapted, adapt
from service.gate.exchange import Delta, Endpoint, EngineRejected, EngineUnavailable, Json

PATHS: Final[dict[Endpoint, str]] = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/chat/completions",  # asked as the chat that they mean: one path to judge, and nothing is stored
    "embeddings": "/v1/embeddings",
}
# what a caller can mend; any other failure (a wrong engine key, a full queue) is the engine's or ours
CALLERS_FAULT: Final = frozenset({400, 404, 413, 422})
# no connection, silence, or an answer that is not what vLLM sends
FAILURES: Final = (aiohttp.ClientError, TimeoutError, OSError, LookupError, TypeError, ValueError)
CONNECT_TIMEOUT_S: Final = 5.0
KEEPALIVE_S: Final = 3.0  # below uvicorn's 5: a connection must not be reused while the server closes it


class VllmClient:
    """`service.gate.exchange.Engine` over HTTP. Made inside a running event loop.

    `idle_timeout_s` is the longest silence within one generation, the wait for the first token included. Gateways that
    share a `salt_key` share what an engine has cached. `carry` gives headers that every generation carries.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        idle_timeout_s: float = 120,
        salt_key: bytes | None = None,
        carry: Callable[[], Mapping[str, str]] | None = None,
    ) -> None:
        self._url = url.rstrip("/").removesuffix("/v1")
        self._salt_key, self._carry = salt_key or secrets.token_bytes(32), carry
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers | ({"Authorization": f"Bearer {key}"} if key else {}),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=idle_timeout_s),
        )

    async def close(self) -> None:
        await self._session.close()

    async def stream(self, endpoint: Endpoint, body: Json, tenant: str) -> AsyncIterator[Delta]:
        """Generates; closing the iterator closes the connection, on which vLLM drops the request.

        Raises:
            EngineRejected: the request is at fault (HTTP 400, 404, 413, 422).
            EngineUnavailable: no connection, silence, any other status, or a stream that ends early.
        """
        request = body | {
            "stream": True,
            "stream_options": {"include_usage": True},
            "cache_salt": self._salt(tenant),
        }
        reader, events = _Reader(), _Events()
        try:
            url, headers = self._url + PATHS[endpoint], self._carry() if self._carry else None
            async with self._session.post(url, data=orjson.dumps(request), headers=headers) as response:
                try:
                    if response.status != 200:
                        raise _failure(response.status, await response.read())
                    # past [DONE] to the end of the body, or the connection could not be used again
                    async for chunk in response.content.iter_any():
                        for event in events.push(chunk):
                            for delta in reader.read(event):
                                yield delta
                finally:
                    response.close()
        except FAILURES as error:
            raise EngineUnavailable(f"The engine cannot be reached or broke off ({type(error).__name__}).") from error
        if not events.done:
            raise EngineUnavailable("The engine broke off.")

    async def embed(self, body: Json) -> Json:
        """One vector a text, in OpenAI's shape.

        Raises:
            EngineRejected: the request is at fault, or (404) the model does not embed.
            EngineUnavailable: no connection, silence, or any other status.
        """
        try:
            async with self._session.post(self._url + PATHS["embeddings"], data=orjson.dumps(body)) as response:
                raw = await response.read()
                if response.status != 200:
                    raise _no_embedding(_failure(response.status, raw), response.status)
                found = orjson.loads(raw)
                vectors = [
                    {"object": "embedding", "index": v["index"], "embedding": v["embedding"]} for v in found["data"]
                ]
                return {"object": "list", "data": vectors, "model": found["model"], "usage": found["usage"]}
        except FAILURES as error:
            raise EngineUnavailable(f"The engine cannot be reached or broke off ({type(error).__name__}).") from error

    async def models(self) -> list[Json]:
        """What can be asked for. Raises EngineUnavailable."""
        listed = await self._listed()
        shown = ("id", "object", "created", "max_model_len")  # `root` would tell callers a path of this machine
        return [{name: model[name] for name in shown if name in model} for model in listed]

    async def adapt(self, wanted: Mapping[str, str], gone: Collection[str]) -> Adapted:
        """Has adapters (name -> folder) loaded, and others dropped. Raises EngineUnavailable."""
        return await adapt(self._session, self._url, await self._listed(), wanted, gone)

    async def ready(self) -> bool:
        try:
            async with self._session.get(self._url + "/health", timeout=aiohttp.ClientTimeout(total=2)) as response:
                return response.status == 200
        except FAILURES:
            return False

    async def _listed(self) -> list[Json]:
        try:
            async with self._session.get(self._url + "/v1/models", timeout=aiohttp.ClientTimeout(total=10)) as response:
                response.raise_for_status()
                listed: list[Json] = orjson.loads(await response.read())["data"]
        except FAILURES as error:
            raise EngineUnavailable(f"The engine cannot be reached ({type(error).__name__}).") from error
        if not listed:
            raise EngineUnavailable("The engine serves no model.")
        return listed

    def _salt(self, tenant: str) -> str:
        """Parts the prefix cache by tenant: its hits would tell one tenant what another asked."""
        return hmac.new(self._salt_key, tenant.encode(), hashlib.sha256).hexdigest()


def _failure(status: int, body: bytes) -> EngineRejected | EngineUnavailable:
    try:
        error = orjson.loads(body)["error"]
        return _refusal(error | {"code": status})
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return EngineUnavailable(f"The engine answered {status}.")


def _no_embedding(failure: EngineRejected | EngineUnavailable, status: int) -> EngineRejected | EngineUnavailable:
    """vLLM has no such route for a model that generates, or says so in words."""
    absent = status in (404, 405, 501) and (isinstance(failure, EngineUnavailable) or str(failure) == "Not Found")
    if absent or "does not support Embeddings" in str(failure):
        return EngineRejected(
            "The model of this service generates text and does not embed it. Ask for one that does.", 404
        )
    return failure


def _refusal(error: Json) -> EngineRejected | EngineUnavailable:
    """vLLM's `error` object, from a status or from inside a stream (where its `code` is the status)."""
    status = error.get("code")
    if status in CALLERS_FAULT:
        message = re.sub(r"https?://\S+", "the engine", str(error.get("message") or "The request is not valid."))
        return EngineRejected(message, status)
    return EngineUnavailable(f"The engine failed ({status}).")


class _Events:
    """Cuts server-sent events out of the bytes as they arrive."""

    __slots__ = ("_rest", "done")

    def __init__(self) -> None:
        self._rest = b""
        self.done = False

    def push(self, chunk: bytes) -> Iterator[Json]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                yield orjson.loads(line[6:])
            elif line.startswith(b"data: [DONE]"):
                self.done = True


class _Aligned:
    """Log-probabilities in step with text.

    vLLM sends an entry with its token although it still holds the token's text back (for a stop string, half a
    character, a possible tool call). Here an entry waits for the last character of its token; entries whose text
    never comes (a stop string, the end token) are dropped with it.
    """

    __slots__ = ("_begun", "_unclaimed", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[Json] = deque()
        self._unclaimed = 0  # characters sent that no entry handed out accounts for
        self._begun = False

    def take(self, entries: Iterable[Json], text: str) -> list[Json] | None:
        self._waiting.extend(entries)
        if not text:
            return None
        if not self._begun and self._waiting:
            self._begun = True
            first: str = self._waiting[0]["token"]
            self._unclaimed = int(first.startswith(" ") and not text.startswith(" "))  # sentencepiece drops it
        self._unclaimed += len(text)
        ready: list[Json] = []
        while self._waiting and len(self._waiting[0]["token"]) <= self._unclaimed:
            entry = self._waiting.popleft()
            self._unclaimed -= len(entry["token"])
            ready.append(entry)
        return ready or None


class _Reader:
    """Turns the events of one stream into deltas; chat and completions differ in where the text is."""

    def __init__(self) -> None:
        self._aligned: dict[int, _Aligned] = {}

    def read(self, event: Json) -> Iterator[Delta]:
        if "error" in event:
            raise _refusal(event["error"])
        for choice in event["choices"]:
            index, delta = choice["index"], choice.get("delta")
            if delta is not None:
                yield from _beside(index, delta)
            text = (choice["text"] if delta is None else delta.get("content")) or ""
            logprobs = self._align(index, choice.get("logprobs"), text)
            if text:
                yield Delta(index, text=text, logprobs=logprobs)
            if reason := choice.get("finish_reason"):
                yield Delta(index, finish_reason=reason)
        if usage := event.get("usage"):
            yield Delta(usage=usage)

    def _align(self, index: int, logprobs: Json | None, text: str) -> list[Json] | None:
        if logprobs is None and index not in self._aligned:
            return None
        return self._aligned.setdefault(index, _Aligned()).take(_entries(logprobs or {}), text)


def _beside(index: int, delta: Json) -> Iterator[Delta]:
    """What a chat message has beside its text: reasoning and tool calls."""
    if text := delta.get("reasoning") or delta.get("reasoning_content"):
        yield Delta(index, "reasoning", text)
    for call in delta.get("tool_calls") or ():
        function = call.get("function") or {}
        arguments = function.get("arguments") or ""
        yield Delta(index, "tool_arguments", arguments, call["index"], call.get("id"), function.get("name"))


def _entries(logprobs: Json) -> list[Json]:
    """One object a token: chat has them so, completions have a list for each field."""
    if "tokens" not in logprobs:
        return logprobs.get("content") or []
    tops = logprobs.get("top_logprobs") or [None] * len(logprobs["tokens"])
    columns = zip(logprobs["tokens"], logprobs["token_logprobs"], tops, strict=True)
    return [{"token": token, "logprob": logprob, "top_logprobs": top} for token, logprob, top in columns]
