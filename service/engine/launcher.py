"""vLLM as a supervised child: started, watched, started again when it dies, and never left behind."""

import asyncio
import os
import re
import secrets
import shlex
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import chain, repeat
from pathlib import Path
from typing import IO, Final

import aiohttp
import structlog

from service.engine import EngineError
from service.engine.install import engine_python, has_nvidia_gpu, tail
from service.engine.leash import leashed
from service.engine.model import Model

log = structlog.get_logger(__name__)

GRACE_S: Final = 8.0  # for vLLM to end by itself; it takes about 2
BACKOFF_S: Final = (1.0, 2.0, 5.0, 15.0, 30.0)
RESTART_TIMEOUT_S: Final = 900.0
RUNTIME_LORA: Final = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
LOG_LIMIT_BYTES: Final = 16 * 1024**2


class EngineStartError(EngineError):
    """vLLM did not come up. The message has the end of its log and what to do."""


class EngineProcess:
    """One vLLM on loopback. `url` and `key` stay the same over restarts.

    The key is random and known to this process alone, so nobody on the machine goes round the gate by accident.
    """

    def __init__(
        self, env: Path, model: Model, home: Path, *, port: int = 0, arguments: str = "", lora: bool = False
    ) -> None:
        self.model = model
        self.key = secrets.token_urlsafe(24)
        self.log_path = home / "log" / "engine.log"
        self.restarts = 0
        self._python = engine_python(env)
        self._port = port
        self._arguments, self._lora = arguments, lora
        self._child: asyncio.subprocess.Process | None = None
        self._log_start = 0
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process group of vLLM while it runs."""
        return self._child.pid if self._child and self._child.returncode is None else None

    async def start(self) -> None:
        """Starts the child; `wait_ready` says when it can be used.

        Raises:
            EngineStartError: no environment, or the port is taken.
        """
        if not self._python.is_file():
            raise EngineStartError("the engine's environment is missing. Run: sluicegate engine install")
        self._port = _free_port(self._port)
        await self._spawn()

    async def wait_ready(self, timeout_s: float, on_progress: Callable[[str], None] = lambda _: None) -> None:
        """Returns when vLLM answers; from then on it is supervised.

        Raises:
            EngineStartError: it died, or was not ready in `timeout_s`. Nothing is left running.
        """
        started = time.monotonic()
        try:
            await self._until_healthy(started + timeout_s, on_progress)
        except BaseException:
            await self.stop()
            raise
        on_progress(f"engine: ready after {time.monotonic() - started:.0f} s")
        self._supervisor = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        """Ends vLLM and all its processes. May be called at any time, more than once."""
        if self._supervisor:
            self._supervisor.cancel()
            with suppress(asyncio.CancelledError):
                await self._supervisor
            self._supervisor = None
        await self._end_child()

    async def _spawn(self) -> None:
        with self._open_log() as out:
            self._log_start = out.tell()
            vllm = [str(self._python), "-m", "vllm.entrypoints.openai.api_server", *self._flags()]
            self._child = await asyncio.create_subprocess_exec(
                *leashed(vllm, GRACE_S),
                stdin=asyncio.subprocess.PIPE,
                stdout=out,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                env=_environment(self.model, self.key) | (RUNTIME_LORA if self._lora else {}),
                cwd=self.log_path.parent,  # nothing there that Python could import by mistake
            )

    def _flags(self) -> list[str]:
        flags = ["--host", "127.0.0.1", "--port", str(self._port)]
        flags += ["--model", self.model.source, "--served-model-name", self.model.name]
        flags += ["--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--max-logprobs", "20"]
        flags += ["--disable-uvicorn-access-log", *self.model.flags]
        if not has_nvidia_gpu():
            flags += ["--enforce-eager"]  # docs/decisions/002-engine-process.md
            # vLLM 0.32 on a CPU dies of a seeded prompt that is read in parts: any caller could end the engine
            flags += ["--no-enable-chunked-prefill"]
        if self._lora:
            flags += ["--enable-lora", "--max-loras", "4", "--max-lora-rank", "64"]
        return flags + shlex.split(self._arguments)

    def _open_log(self) -> IO[bytes]:
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_LIMIT_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        self.log_path.touch(mode=0o600)
        return self.log_path.open("ab")

    async def _until_healthy(self, deadline: float, on_progress: Callable[[str], None]) -> None:
        began = told = time.monotonic()
        child = self._child
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            while not await _healthy(session, self.url):
                now = time.monotonic()
                if child is None or child.returncode is not None:
                    raise EngineStartError(self._obituary("vLLM ended while it started"))
                if now > deadline:
                    raise EngineStartError(self._obituary(f"vLLM was not ready after {now - began:.0f} s"))
                if now - told >= 5:
                    told = now
                    on_progress(f"engine: loading {self.model.name} ({now - began:.0f} s)")
                await asyncio.sleep(0.2)

    async def _supervise(self) -> None:
        while self._child:
            code = await self._child.wait()
            self.restarts += 1
            log.error("engine_died", exit_code=code, restarts=self.restarts, log=str(self.log_path))
            for pause_s in chain(BACKOFF_S, repeat(BACKOFF_S[-1])):
                await self._end_child()
                await asyncio.sleep(pause_s)
                if await self._came_back():
                    break

    async def _came_back(self) -> bool:
        try:
            await self._spawn()
            await self._until_healthy(time.monotonic() + RESTART_TIMEOUT_S, lambda _: None)
        except (EngineStartError, OSError) as error:
            log.error("engine_restart_failed", error=str(error).splitlines()[0])
            return False
        log.warning("engine_restarted", restarts=self.restarts)
        return True

    async def _end_child(self) -> None:
        child = self._child
        if child is None:
            return
        if child.returncode is None and child.stdin:
            child.stdin.close()  # the leash does the rest
            with suppress(TimeoutError):
                await asyncio.wait_for(child.wait(), GRACE_S + 2)
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # what is left when the leash itself was killed
        await child.wait()
        self._child = None

    def _obituary(self, what: str) -> str:
        with self.log_path.open("rb") as file:
            file.seek(self._log_start)
            written = file.read().decode(errors="replace").splitlines()
        telling = [line for line in written if line.strip() and not NOISE.search(line)]
        shown = tail("\n".join(telling), lines=10)
        return f"{what}. The end of {self.log_path}:\n{shown}\n{_advice(shown)}"


def _environment(model: Model, key: str) -> dict[str, str]:
    """Ours where it must be so, the operator's where they chose."""
    cores = len(os.sched_getaffinity(0))
    chosen = {
        "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB: 90,000 tokens of the small model
        "VLLM_CPU_OMP_THREADS_BIND": "auto" if cores > 1 else "nobind",  # auto leaves a core to the gateway
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin take the cores from the guards
        "KMP_BLOCKTIME": "0",
    } | dict(os.environ)
    forced = {"VLLM_API_KEY": key, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}
    if model.local:
        forced |= {"HF_HUB_OFFLINE": "1"}
    secret = [name for name in chosen if name.startswith("SLUICEGATE_")]  # keys are not for vLLM
    return {name: value for name, value in (chosen | forced).items() if name not in secret}


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise EngineStartError(
                f"port {port} for the engine is taken. Set SLUICEGATE_ENGINE_PORT to a free one, or to 0."
            ) from error
        return int(probe.getsockname()[1])


async def _healthy(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/health") as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


# lines of vLLM's log that do not say what is wrong: other levels, source in tracebacks, the usage text
NOISE: Final = re.compile(r" (INFO|WARNING|DEBUG) \d|^(\([^)]*\) )?\s{4}|^\s+File |\]\s{2,}\S|^\[?W\d{4}")
ADVICE: Final = {
    r"max.model.len": "Set a length that fits, such as SLUICEGATE_ENGINE_ARGS='--max-model-len 4096'.",
    r"out of memory|allocate|MemoryError|memory.*(available|free)|KV cache": (
        "Memory is short: stop other programs, set VLLM_CPU_KVCACHE_SPACE=1, or take a smaller SLUICEGATE_MODEL."
    ),
    r"Address already in use": "The port is taken: set SLUICEGATE_ENGINE_PORT to a free one, or to 0.",
    r"No space left": "The disk is full: free some, or set SLUICEGATE_HOME to a folder on another disk.",
    r"unrecognized arguments|error: argument": "vLLM does not take an argument of SLUICEGATE_ENGINE_ARGS.",
    r"OSError|huggingface|safetensors|config\.json|model type|tokenizer|architectures": (
        "The model cannot be loaded: check SLUICEGATE_MODEL (a whole folder, or a hub id while the hub is reachable)."
    ),
}


def _advice(text: str) -> str:
    for sign, advice in ADVICE.items():
        if re.search(sign, text):
            return advice
    return "Check memory, SLUICEGATE_MODEL and SLUICEGATE_ENGINE_ARGS; the whole log is in the file above."
