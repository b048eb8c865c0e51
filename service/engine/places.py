"""Where engines are: one URL, several, or a name that DNS resolves to several."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from service.engine import EngineError

NAMED: Final = "dns+"
RESOLVE_S: Final = 5.0
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Place:
    """An address. `name` is how logs and metrics call it: host and port, never a user or a password."""

    url: str
    name: str
    port: int
    named: bool = False  # one engine for each address that DNS knows


def places(text: str) -> tuple[Place, ...]:
    """From SLUICEGATE_ENGINE_URL: `http://a:8000`, `http://a:8000,http://b:8000`, or `dns+http://engines:8000`.

    Raises:
        EngineError: what is wrong and how it is written.
    """
    found = tuple(_place(part.strip()) for part in text.split(",") if part.strip())
    if not found:
        raise EngineError("SLUICEGATE_ENGINE_URL names no engine. Example: http://10.0.0.1:8000,http://10.0.0.2:8000")
    twice = {p.name for p in found if sum(q.name == p.name for q in found) > 1}
    if twice:
        raise EngineError(f"SLUICEGATE_ENGINE_URL names {', '.join(sorted(twice))} twice")
    return found


def _place(text: str) -> Place:
    named = text.startswith(NAMED)
    url = text.removeprefix(NAMED).rstrip("/").removesuffix("/v1")
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        port = 0
    if parts.scheme not in ("http", "https") or not parts.hostname or not port:
        raise EngineError("SLUICEGATE_ENGINE_URL is not an address. Write http://host:port, or several with commas")
    if named and (parts.scheme == "https" or "@" in parts.netloc or parts.path):
        raise EngineError("SLUICEGATE_ENGINE_URL: behind a DNS name engines are http, as in dns+http://engines:8000")
    return Place(url, _name(parts.hostname, port) + parts.path, port, named)


def _name(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def resolved(place: Place, resolve: Resolve) -> list[Place]:
    """The engines behind a place, one for each address. Raises OSError, TimeoutError."""
    if not place.named:
        return [place]
    host = urlsplit(place.url).hostname or ""
    async with asyncio.timeout(RESOLVE_S):
        addresses = await resolve(host, place.port)
    names = [_name(address, place.port) for address in sorted(set(addresses))]
    return [Place(f"http://{name}", name, place.port) for name in names]


async def by_dns(host: str, port: int) -> Sequence[str]:
    """Addresses of a name. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]
