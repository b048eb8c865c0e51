"""Runs a command that must not outlive whoever started it: `leash.py GRACE_S COMMAND...`.

The starter holds the other end of our standard input. When that closes, by intent or because the starter was killed,
or when the command ends by itself, the whole process group ends: SIGTERM, GRACE_S to comply, SIGKILL. Unlike a
parent-death signal this reaches grandchildren (vLLM's engine core and workers). Run as a script, as the leader of
its own process group.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import IO

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def leashed(command: Sequence[str], grace_s: float) -> list[str]:
    """The command line to start, in a new session and with a pipe for standard input."""
    return [sys.executable, "-I", "-S", __file__, str(grace_s), *command]


def run(command: Sequence[str], out: IO[bytes], env: Mapping[str, str] | None = None, grace_s: float = 2.0) -> int:
    """Exit code of a command that ends when we do. What it prints goes to `out`."""
    with subprocess.Popen(
        leashed(command, grace_s),
        stdin=subprocess.PIPE,
        stdout=out,
        stderr=subprocess.STDOUT,
        env=env,
        start_new_session=True,
    ) as process:
        return process.wait()


def main(grace_s: float, command: list[str]) -> int:
    """Exit code of the command, as a shell would give it."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)  # orphans among the descendants become our children, so we can wait for them
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),  # should someone kill us alone
    )
    ended = os.pidfd_open(child.pid)
    select.select([ended, 0], [], [])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what we send to the group is not for us
    os.killpg(0, signal.SIGTERM)
    code = _reap(child.pid, grace_s)
    if code is None:
        os.killpg(0, signal.SIGKILL)  # ends us, too
    return 128 + signal.SIGKILL if code is None else code


def _reap(child: int, grace_s: float) -> int | None:
    """Waits until no descendant is left; None when some are after `grace_s`."""
    code = 0
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == child:
            exited = os.waitstatus_to_exitcode(status)
            code = exited if exited >= 0 else 128 - exited
        elif pid == 0:
            time.sleep(0.02)
    return None


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
