"""LoRA adapters of a running vLLM: what it has, loading, unloading."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
import orjson
import structlog

from service.gate.exchange import EngineUnavailable, Json

LOAD_TIMEOUT_S: Final = 60.0
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Adapted:
    """Names a request may ask for: of the models themselves, and of the adapters that are loaded."""

    base: frozenset[str] = frozenset()
    loaded: frozenset[str] = frozenset()


async def adapt(
    session: aiohttp.ClientSession, url: str, listed: Collection[Json], wanted: Mapping[str, str], gone: Collection[str]
) -> Adapted:
    """Loads those of `wanted` (name -> folder) that are not there, drops those of `gone` that are.

    What is generating goes on: vLLM drops an adapter for new requests alone. `listed`: what the engine serves.
    """
    loaded = {str(m["id"]) for m in listed if m.get("parent")}
    base = frozenset(str(m["id"]) for m in listed if not m.get("parent"))
    for name in wanted.keys() - loaded:
        if await _told(session, f"{url}/v1/load_lora_adapter", {"lora_name": name, "lora_path": wanted[name]}):
            loaded.add(name)
    for name in loaded & set(gone):
        if await _told(session, f"{url}/v1/unload_lora_adapter", {"lora_name": name}):
            loaded.discard(name)
    return Adapted(base, frozenset(loaded))


async def _told(session: aiohttp.ClientSession, url: str, body: Json) -> bool:
    """Whether it was done. Raises EngineUnavailable."""
    try:
        timeout = aiohttp.ClientTimeout(total=LOAD_TIMEOUT_S)
        async with session.post(url, data=orjson.dumps(body), timeout=timeout) as response:
            if response.status == 200:
                return True
            why = "is SLUICEGATE_ENGINE_LORA set?" if response.status == 404 else "see the engine's log"
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise EngineUnavailable(f"The engine cannot be reached ({type(error).__name__}).") from error
    log.error("adapter_refused", adapter=body["lora_name"], status=response.status, hint=why)
    return False
