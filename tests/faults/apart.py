"""A gateway in a network namespace of its own: between it and the rest is a wire that can lose packets."""

import contextlib
import itertools
import os
import shutil
import subprocess

_NUMBERS = itertools.count(1)


class NoNamespaces(Exception):
    """They cannot be made here. The message says what is missing."""


class Link:
    """Use as a context manager. `here` and `there`: the addresses of its two ends; `enter`: begins a command there."""

    def __init__(self) -> None:
        number = next(_NUMBERS)
        self.here, self.there = f"10.213.{number}.1", f"10.213.{number}.2"
        self._space, self._end = f"sgf{os.getpid()}-{number}", f"sgf{number}h{os.getpid() % 10**6}"
        self.enter = ["ip", "netns", "exec", self._space]
        self._lost: set[int] = set()

    def __enter__(self) -> "Link":
        if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("iptables"):
            raise NoNamespaces(
                "network namespaces need root, ip and iptables: sudo apt-get install -y iproute2 iptables"
            )
        try:
            self._make()
        except subprocess.CalledProcessError as error:
            self.__exit__()
            raise NoNamespaces(f"no network namespace can be made here: {error.stderr}") from error
        return self

    def __exit__(self, *_) -> None:
        for port in list(self._lost):
            self.find(port)
        with contextlib.suppress(subprocess.CalledProcessError):
            _run("ip", "netns", "del", self._space)  # its end of the wire goes with it, and so does ours

    def lose(self, port: int) -> None:
        """Packets from there to `port` here vanish, and those that would answer: nobody is told."""
        self._lost.add(port)
        for rule in self._rules(port):
            _run("iptables", "-w", "-I", *rule)

    def find(self, port: int) -> None:
        """Packets arrive again."""
        self._lost.discard(port)
        for rule in self._rules(port):
            _run("iptables", "-w", "-D", *rule)

    def _rules(self, port: int) -> list[list[str]]:
        ways = (("INPUT", "-i", "--dport"), ("OUTPUT", "-o", "--sport"))
        return [[chain, by, self._end, "-p", "tcp", which, str(port), "-j", "DROP"] for chain, by, which in ways]

    def _make(self) -> None:
        inside = self._end.replace("h", "t")
        _run("ip", "netns", "add", self._space)
        _run("ip", "link", "add", self._end, "type", "veth", "peer", "name", inside, "netns", self._space)
        for begin, end, address in (([], self._end, self.here), (self.enter, inside, self.there)):
            _run(*begin, "ip", "address", "add", f"{address}/24", "dev", end)
            _run(*begin, "ip", "link", "set", end, "up")
        _run(*self.enter, "ip", "link", "set", "lo", "up")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
