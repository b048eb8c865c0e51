"""The commands of a page, run as a reader runs them: in order, in one shell.

A block of `sh` is run. A block of `output` behind it shows lines that its standard output holds, in their order; `...`
stands for anything. What cannot be run says why, in a line before the block: `*Not run by the tests: it needs a GPU.*`,
or in a comment of the same words.
"""

import asyncio
import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(
    r"(?:^(?:\*|<!-- )Not run by the tests: (?P<why>[^*]+?)\.(?:\*| -->)\n\n)?"
    r"^```sh\n(?P<code>.*?)^```$"
    r"(?:\n\n^```output\n(?P<output>.*?)^```$)?",
    re.M | re.S,
)
MARK = "\x1e"  # parts what blocks print
LIMIT_S = 600  # of a page, on a machine that does other things


@dataclass(frozen=True)
class Block:
    line: int
    code: str
    output: str
    why: str | None  # it is not run


def blocks(text: str) -> list[Block]:
    return [
        Block(text.count("\n", 0, m.start("code")), m["code"], m["output"] or "", m["why"])
        for m in BLOCK.finditer(text)
    ]


async def faults(
    found: list[Block], folder: Path, environment: Mapping[str, str], instead: Mapping[str, str]
) -> list[str]:
    """Runs the blocks in `folder`: commands that fail, lines that are shown and not printed.

    `instead`: addresses that a test cannot have, by those that the page names.
    """
    script = "set -eu\n" + "".join(f"printf '{MARK}\\n'\n{replaced(b.code, instead)}\n" for b in found)
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-c", script), cwd=folder, env=environment, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    late = asyncio.get_running_loop().call_later(LIMIT_S, os.killpg, shell.pid, signal.SIGKILL)
    out, errors = await shell.communicate()
    late.cancel()
    printed = out.decode().split(f"{MARK}\n")[1:]
    if shell.returncode != 0:
        last = found[len(printed) - 1]
        return [f"line {last.line}:\n{last.code}\n{printed[-1]}\n{errors.decode()[-3000:]}"]
    return [
        f"line {block.line}:\n{block.code}\nshows {missing!r}, which is not in:\n{said}"
        for block, said in zip(found, printed, strict=True)
        if (missing := first_missing(replaced(block.output, instead), said)) is not None
    ]


def replaced(text: str, instead: Mapping[str, str]) -> str:
    for here, there in instead.items():
        text = text.replace(here, there)
    return text


def first_missing(shown: str, said: str) -> str | None:
    """The first line shown that is not among the lines said, each sought behind the one before."""
    lines = iter(said.splitlines())
    for wanted in filter(None, map(str.strip, shown.splitlines())):
        form = re.compile(".*".join(map(re.escape, wanted.split("..."))))
        if not any(form.fullmatch(line.strip()) for line in lines):
            return wanted
    return None
