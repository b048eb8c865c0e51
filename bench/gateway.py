"""The gateway with guards out of the path: everything real but a guard that answers at once and never fires.

python -m bench.gateway --engine-url http://127.0.0.1:8000 --home /some/folder     # prints its port
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.asgi import run, start
from guards.policy import Policies, Policy, Rule
from guards.verdict import Passage, Scores, Stage
from service.gate.exchange import Json
from service.ledger.ledger import SqlLedger

KEY: Final = "sg-client-bench"


class SilentGuard:
    """Scores everything 0."""

    name = "silent"
    version = "1"
    digest = "0" * 64
    most_chars = None

    def covers(self, stage: Stage) -> frozenset[str]:
        return frozenset({"harm"})

    def judge(self, passages: Sequence[Passage]) -> list[Scores]:
        return [Scores({"harm": 0.0})] * len(passages)


class NoRecords(SqlLedger):
    """Records nothing: what the ledger costs is the difference."""

    def append(self, event: Json) -> None: ...

    async def commit(self, event: Json) -> None: ...


def policy(each_chunk: bool) -> Policy:
    """The default policy's pace, or one segment for every chunk."""
    rules = {"input": {"harm": Rule()}, "output": {"harm": Rule()}}
    pace = {"lookahead_chars": 0, "first_segment_chars": 1, "most_segment_chars": 1} if each_chunk else {}
    return Policy.model_validate({"name": "bench", "version": 1, "guards": ["silent"], **rules, **pace})


async def serve(engine_url: str, home: Path, each_chunk: bool, ledger: bool) -> None:
    import service.app
    from service.app import Guarded, assembled, settle
    from service.settings import Settings
    from service.telemetry.logging import configure

    configure("info")
    if not ledger:
        service.app.SqlLedger = NoRecords  # type: ignore[misc]  # nobody but a bench wants this
    settings = Settings(home=home, client_key=KEY, requests_per_minute=1_000_000)
    guarded = Guarded(Policies.only(policy(each_chunk)), (SilentGuard(),))
    async with assembled(settings, guarded, engine_url, None) as (app, _):
        settle()
        await run(app)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine-url", required=True)
    parser.add_argument("--home", required=True, type=Path)
    parser.add_argument("--each-chunk", action="store_true", help="a segment for every chunk: nothing is put together")
    parser.add_argument("--no-ledger", action="store_true", help="records nothing")
    parser.add_argument("--loop", default="uvloop", choices=["uvloop", "asyncio"])
    options = parser.parse_args()
    start(serve(options.engine_url, options.home, options.each_chunk, not options.no_ledger), options.loop)
