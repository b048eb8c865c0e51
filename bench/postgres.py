"""A PostgreSQL of one's own for a bench or a test, thrown away afterwards."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final

import psutil

START_S: Final = 60.0
TUNED: Final = ("shared_buffers=512MB", "max_wal_size=4GB", "fsync=off")


class NoPostgres(Exception):
    """It cannot be run here. The message says what to do."""


class Server:
    """Runs between `with` and its end; `stop` and `start` in between keep all it holds. `settings`: name=value."""

    def __init__(self, *settings: str) -> None:
        """Makes an empty cluster. Raises NoPostgres."""
        self._binaries, self._user = _binaries(), _user()
        self._home = Path(tempfile.mkdtemp(prefix="sg-pg-"))  # short: the socket's path has a limit
        if self._user:
            shutil.chown(self._home, self._user)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        data = ["-D", self._home / "data"]
        initdb = [self._binaries / "initdb", *data, "-U", "sluicegate", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(initdb, check=True, user=self._user, capture_output=True, cwd=self._home)
        where = ["-p", str(self._port), "-k", self._home, "-h", "127.0.0.1"]
        self._serve = [self._binaries / "postgres", *data, *where, *(w for s in settings for w in ("-c", s))]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """`postgresql://user@host:port`, to be followed by the name of a database."""
        return f"postgresql://sluicegate@127.0.0.1:{self._port}"

    def start(self) -> None:
        """Returns when it answers."""
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(self._serve, user=self._user, stdout=log, stderr=log, cwd=self._home)
        ready = [self._binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        deadline = time.monotonic() + START_S
        while subprocess.run(ready, check=False).returncode:
            if time.monotonic() > deadline:
                raise NoPostgres(f"PostgreSQL did not start; see {self._home / 'log'}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Ends it at once, as a crash would: who is connected is cut off, and the next start recovers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    def kill(self) -> None:
        """SIGKILL to all its processes, as when a machine has no memory left."""
        if self._process is not None:
            main = psutil.Process(self._process.pid)
            for process in (*main.children(recursive=True), main):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait(30)
            self._process = None

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)


@contextmanager
def postgres() -> Iterator[str]:
    """Base URL of one for a bench. Exits with advice where it cannot be run."""
    try:
        server = Server(*TUNED)
    except NoPostgres as error:
        raise SystemExit(str(error)) from error
    with server:
        yield server.url


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    path = found[-1] if found else shutil.which("initdb")
    if path is None:
        raise NoPostgres("no PostgreSQL binaries; run: sudo apt-get install -y postgresql")
    return Path(path).parent


def _user() -> str | None:
    """Whom it runs as: it refuses to run as root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        raise NoPostgres("running as root, and there is no user 'postgres' to run PostgreSQL as") from None
