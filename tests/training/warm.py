"""Runs commands of training, one after the other, each in a fork of a process that has torch loaded already.

A line of JSON on stdin is a command: {"arguments": as python's own, "environment", "out", "err": files}; the exit code
is the answer. Loading torch anew takes longer than most of what the tests let it do.
"""

import json
import os
import runpy
import sys

import training.build_guard
import training.evaluate_guard
import training.export_guard
import training.fit_guard  # noqa: F401
from tests.forked import exit_code


def run(arguments: list[str]) -> None:
    kind, what, *rest = arguments
    sys.argv = [kind, *rest]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    elif kind == "-c":
        exec(compile(what, "<command>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = arguments
        runpy.run_path(kind, run_name="__main__")


def child(arguments: list[str], environment: dict[str, str], out: str, err: str) -> int:
    for fd, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), fd)
    os.environ.clear()
    os.environ.update(environment)
    return exit_code(lambda: run(arguments))


print("ready", flush=True)
for line in sys.stdin:
    command = json.loads(line)
    if (pid := os.fork()) == 0:
        os._exit(child(**command))
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
