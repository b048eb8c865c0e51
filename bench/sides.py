"""What is compared: a gateway and the vLLM behind it, started here or running already."""

import asyncio
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Side:
    name: str
    url: str
    key: str | None
    model: str


@dataclass(frozen=True, slots=True)
class Sides:
    ours: Side
    bare: Side
    model_folder: Path | None = None  # where its weights can be counted


@asynccontextmanager
async def both(
    url: str | None, key: str | None, engine_url: str | None, engine_key: str | None, tell: Tell
) -> AsyncIterator[Sides]:
    """Those given; of our own, ended afterwards, what is not given.

    Raises:
        RuntimeError: one of them does not answer, or did not start.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluicegate-bench-")))
        if engine_url:
            bare, weights = await _side("vLLM", engine_url, engine_key), None
        else:
            bare, weights = await stack.enter_async_context(_engine(folder, tell))
        if url:
            ours = await _side("gateway", url, key)
        else:
            ours = await stack.enter_async_context(_gateway(folder, bare, tell))
        yield Sides(ours, bare, weights)


async def _side(name: str, url: str, key: str | None) -> Side:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = url.rstrip("/").removesuffix("/v1")
    try:
        async with aiohttp.ClientSession(headers=headers) as session, session.get(f"{url}/v1/models") as response:
            response.raise_for_status()
            return Side(name, url, key, (await response.json())["data"][0]["id"])
    except aiohttp.ClientError as error:
        raise RuntimeError(f"the {name} does not list its models: {error}") from error


@asynccontextmanager
async def _engine(folder: Path, tell: Tell) -> AsyncIterator[tuple[Side, Path | None]]:
    """vLLM started as `sluicegate serve` starts it. Its model comes from the usual cache."""
    from service.engine.install import engine_python
    from service.engine.launcher import EngineProcess
    from service.engine.model import bring
    from service.settings import Settings

    settings = Settings()
    model = await asyncio.to_thread(bring, settings.model, settings.home, engine_python(settings.engine_env), tell)
    process = EngineProcess(settings.engine_env, model, folder, arguments=settings.engine_args)
    await process.start()
    try:
        await process.wait_ready(settings.engine_start_timeout_s, tell)
        yield await _side("vLLM", process.url, process.key), Path(model.source) if model.local else None
    finally:
        await process.stop()


@asynccontextmanager
async def _gateway(folder: Path, engine: Side, tell: Tell) -> AsyncIterator[Side]:
    """`sluicegate serve` with its state in `folder`."""
    port, key = _free_port(), secrets.token_urlsafe(24)
    environment = os.environ | {
        "SLUICEGATE_HOME": str(folder / "home"),
        "SLUICEGATE_PORT": str(port),
        "SLUICEGATE_CLIENT_KEY": key,
        "SLUICEGATE_ADMIN_KEY": secrets.token_urlsafe(24),
        "SLUICEGATE_REQUESTS_PER_MINUTE": "1000000",
        "SLUICEGATE_ENGINE_URL": engine.url,
        "SLUICEGATE_CONSOLE": "false",
        "SLUICEGATE_ENGINE_KEY": engine.key or "",
    }
    environment.pop("PORT", None)
    log = folder / "gateway.log"
    with log.open("wb") as out:
        command = [str(Path(sys.executable).with_name("sluicegate")), "serve"]
        child = await asyncio.create_subprocess_exec(*command, env=environment, stdout=out, stderr=out)
    try:
        await _until_ready(f"http://127.0.0.1:{port}", child, log)
        tell("gateway: ready")
        yield await _side("gateway", f"http://127.0.0.1:{port}", key)
    finally:
        if child.returncode is None:
            child.terminate()
        await child.wait()


async def _until_ready(url: str, child: asyncio.subprocess.Process, log: Path, timeout_s: float = 120) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(int(timeout_s / 0.2)):
            if child.returncode is not None:
                break
            try:
                async with session.get(f"{url}/health/ready") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.2)
    raise RuntimeError(f"the gateway did not start. The end of its log:\n{_end(log)}")


def _end(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-1500:]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
