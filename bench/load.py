"""The load generator: a process of its own that streams chat answers and notes when what arrived.

    python -m bench.load     # reads a Job as JSON from each line of stdin, answers each with a Round

Bytes are cut at line ends and parsed once; nothing else happens while an answer streams.
"""

import asyncio
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import aiohttp
import orjson


@dataclass(slots=True)
class Job:
    """`bodies` are sent in order by `streams` workers, each one request at a time."""

    url: str
    bodies: list[dict[str, Any]]
    streams: int
    key: str | None = None


@dataclass(slots=True)
class Answer:
    """Times in seconds after the request was sent. `arrivals`: (time, characters of content until then)."""

    body: int
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    end_s: float = 0.0
    tokens: int = 0
    prompt_tokens: int = 0
    text: str = ""
    finish: str | None = None
    error: str | None = None

    @property
    def first_s(self) -> float:
        return self.arrivals[0][0]

    def reached_s(self, chars: int) -> float:
        """When `chars` characters were there; the last arrival if the answer is shorter."""
        return next((at for at, count in self.arrivals if count >= chars), self.arrivals[-1][0])


@dataclass(slots=True)
class Round:
    """One job done: how long it took and what CPU time this process took for it, both in seconds."""

    wall_s: float
    cpu_s: float
    answers: list[Answer]

    @property
    def errors(self) -> list[str]:
        return [a.error for a in self.answers if a.error]

    @property
    def tokens(self) -> int:
        return sum(a.tokens for a in self.answers)


async def drive(session: aiohttp.ClientSession, job: Job) -> Round:
    waiting = iter(enumerate(job.bodies))
    answers: list[Answer] = []

    async def worker() -> None:
        for number, body in waiting:
            answers.append(await ask(session, job, number, body))

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker() for _ in range(job.streams)))
    return Round(time.perf_counter() - wall, time.process_time() - cpu, sorted(answers, key=lambda a: a.body))


async def ask(session: aiohttp.ClientSession, job: Job, number: int, body: dict[str, Any]) -> Answer:
    answer = Answer(number)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {job.key}"} if job.key else {})
    request = orjson.dumps(body | {"stream": True, "stream_options": {"include_usage": True}})
    sent = time.perf_counter()
    try:
        async with session.post(f"{job.url}/v1/chat/completions", data=request, headers=headers) as response:
            if response.status != 200:
                answer.error = f"HTTP {response.status}: {(await response.text())[:200]}"
                return answer
            rest = b""
            async for chunk in response.content.iter_any():
                at = time.perf_counter() - sent
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.startswith(b"data: {"):
                        _note(answer, orjson.loads(line[6:]), at)
    except (aiohttp.ClientError, TimeoutError) as error:
        answer.error = f"{type(error).__name__}: {error}"
    answer.end_s = time.perf_counter() - sent
    if not answer.arrivals and not answer.error:
        answer.error = "no content arrived"
    return answer


def _note(answer: Answer, event: dict[str, Any], at: float) -> None:
    if "error" in event:
        answer.error = str(event["error"])[:200]
    for choice in event.get("choices", ()):
        if text := choice["delta"].get("content"):
            answer.text += text
            answer.arrivals.append((at, len(answer.text)))
        answer.finish = choice.get("finish_reason") or answer.finish
    if usage := event.get("usage"):
        answer.tokens, answer.prompt_tokens = usage["completion_tokens"], usage["prompt_tokens"]


class Load:
    """The process, seen from the one that measures."""

    def __init__(self) -> None:
        self._child: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> "Load":
        command = [sys.executable, "-m", "bench.load"]
        pipe = asyncio.subprocess.PIPE
        self._child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=1 << 28)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._child and self._child.stdin:
            self._child.stdin.close()
            await self._child.wait()

    async def run(self, job: Job) -> Round:
        """Raises RuntimeError when an answer failed: a figure over failures is none."""
        assert self._child
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.write(orjson.dumps(asdict(job)) + b"\n")
        await self._child.stdin.drain()
        raw = orjson.loads(await self._child.stdout.readline())
        done = Round(raw["wall_s"], raw["cpu_s"], [Answer(**answer) for answer in raw["answers"]])
        if done.errors:
            raise RuntimeError(f"{len(done.errors)} of {len(done.answers)} answers failed, the first: {done.errors[0]}")
        return done


async def main() -> None:
    reader = asyncio.StreamReader(limit=1 << 28)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=3)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=600)) as session:
        while line := await reader.readline():
            done = await drive(session, Job(**orjson.loads(line)))
            print(orjson.dumps(asdict(done)).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
