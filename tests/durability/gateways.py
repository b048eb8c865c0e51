"""Gateways to be killed: `python -m tests.durability.gateways` forks `sluicegate serve` for each line it reads."""

import os
import sys

import uvicorn  # noqa: F401  what a start imports, imported once
import uvloop  # noqa: F401

import service.app
import service.telemetry.logging  # noqa: F401
from service.cli.main import main
from tests.durability.nursery import bear


def serve(environment: dict[str, str], log: str) -> None:
    """In this process, as the command does; what it says goes to a file."""
    os.environ.update(environment)
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(said, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = ["sluicegate", "serve", "--port", "0"]
    main()


if __name__ == "__main__":
    bear(serve)
