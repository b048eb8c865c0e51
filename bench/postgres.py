"""A PostgreSQL of one's own for a bench, thrown away afterwards."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def postgres() -> Iterator[str]:
    """Base URL `postgresql://user@host:port`. Exits with advice where there are no binaries."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise SystemExit("no PostgreSQL binaries; run: sudo apt-get install -y postgresql")
    binaries, home = found[-1].parent, Path(tempfile.mkdtemp(prefix="sg-pg-"))
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    if user:
        shutil.chown(home, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    initdb = [binaries / "initdb", "-D", home / "data", "-U", "sluicegate", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(initdb, check=True, user=user, capture_output=True, cwd=home)
    serve = [binaries / "postgres", "-D", home / "data", "-p", str(port), "-k", home, "-h", "127.0.0.1"]
    tuned = ["-c", "shared_buffers=512MB", "-c", "max_wal_size=4GB", "-c", "fsync=off"]
    process = subprocess.Popen([*serve, *tuned], user=user, stderr=subprocess.DEVNULL, cwd=home)
    try:
        ready = [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        while subprocess.run(ready, check=False).returncode:
            time.sleep(0.1)
        yield f"postgresql://sluicegate@127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(30)
        shutil.rmtree(home, ignore_errors=True)
