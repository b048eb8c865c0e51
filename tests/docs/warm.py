"""`sluicegate` and `sluicegate-train` without the second that their imports take: a process that has them forks.

What runs is the command, with its caller's arguments, folder, environment and streams.
"""

import importlib
import json
import os
import socket
import sys
from pathlib import Path

from tests.forked import exit_code

MOST = 1 << 20  # bytes of a call
BEFOREHAND = ("review.queue", "review.users", "review.export", "ledger.keys", "ledger.verify", "learning", "operating")
MAINS = {"sluicegate": "service.cli", "sluicegate-train": "training.cli"}
CLIENT = """#!{python} -SE
import json, os, socket, sys
call = {{"argv": sys.argv, "cwd": os.getcwd(), "env": dict(os.environ)}}
wire = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
wire.connect({path!r})
socket.send_fds(wire, [json.dumps(call).encode()], [0, 1, 2])
sys.exit(int(wire.recv(16) or b"1"))
"""


def install(folder: Path, path: Path) -> None:
    """Writes both commands into `folder`; they call the process at `path`."""
    for name in MAINS:
        client = folder / name
        client.write_text(CLIENT.format(python=sys.executable, path=str(path)))
        client.chmod(0o755)


def serve(path: str) -> None:
    """Answers calls until it is killed or its parent is gone; says `ready` once it takes them."""
    for module in (*MAINS.values(), "guards.registry", *(f"service.{name}" for name in BEFOREHAND)):
        importlib.import_module(module)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(16)
    listener.settimeout(5)
    parent = os.getppid()
    print("ready", flush=True)
    while os.getppid() == parent:  # nobody is left to kill it
        try:
            wire, _ = listener.accept()
        except TimeoutError:
            continue
        wire.setblocking(True)
        if os.fork() == 0:
            wire.send(str(call(wire)).encode())
            os._exit(0)
        wire.close()
        reap()


def reap() -> None:
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def call(wire: socket.socket) -> int:
    """Becomes the command that is asked for; its exit code."""
    said, streams, *_ = socket.recv_fds(wire, MOST, 3)
    asked = json.loads(said)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ |= asked["env"]
    sys.argv = asked["argv"]
    return exit_code(lambda: importlib.import_module(MAINS[Path(sys.argv[0]).name]).main())


if __name__ == "__main__":
    serve(sys.argv[1])
