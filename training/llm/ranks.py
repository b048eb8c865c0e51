"""Of the processes that train together under a launcher, the one that prints and writes."""

import os


def first() -> bool:
    """Whether this is that process; alone it is."""
    return int(os.environ.get("RANK", "0")) == 0


def say(line: str) -> None:
    """Prints a line, once for all processes."""
    if first():
        print(line, flush=True)
