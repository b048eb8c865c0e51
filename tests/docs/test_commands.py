"""What the documents tell a reader to type works, and prints what they show."""

import asyncio
import os
import re
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Container, Iterable
from contextlib import asynccontextmanager, nullcontext
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio

from service.review.console.keyboard import KEYS
from tests.docs.commands import BLOCK, Block, blocks, faults, first_missing, replaced
from tests.docs.warm import MAINS, install
from tests.gateway import gateway, wire

ROOT = Path(__file__).parents[2]
GIVEN = Path(__file__).parent / "given"
LESSONS = sorted(p for folder in ("tutorials", "how-to") for p in (ROOT / "docs" / folder).glob("*.md"))
REFERENCE = sorted(
    p
    for pattern in ("*.md", "docs/*.md", "docs/runbooks/*.md", "bench/*.md", "training/**/*.md", "helm/**/*.md")
    for p in ROOT.glob(pattern)
    if p != ROOT / "docs/api.md"  # test_api_page.py
)
PAGES = LESSONS + REFERENCE
NOT_RUN = 33  # blocks; one more is a decision, not an oversight
PROGRAMS = "sluicegate|sluicegate-train|make|helm|kubectl|docker|curl|pip|python|accelerate"
TYPED = re.compile(rf"^ {{4}}(?:\$ |\w+=\S+ )*(?:\S+/)?(?:{PROGRAMS}) .*", re.M)
PROVE = bool(os.environ.get("SLUICEGATE_PROVE"))
LINKS = ("guards", "helm", "training", "bench", "service", "docs")
MODEL = "smollm2-135m-instruct"
REASONS = count(1)


def answer(asked: str) -> str:
    """What the model says: what it was told to repeat, or what everybody asks first; of cats always something new."""
    if "cats" in asked:
        return f"They have {next(REASONS)} reasons."
    return asked.partition("Repeat: ")[2] or "The capital of France is Paris."


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def linked(folder: Path, found: Iterable[Path]) -> None:
    folder.mkdir(exist_ok=True)
    for path in found:
        (folder / path.name).symlink_to(path)


def prepared(environment: Path, but: Container[str]) -> Path:
    """The environment of this run in a folder, without some of its programs."""
    linked(environment, (path for path in Path(sys.prefix).iterdir() if path.name != "bin"))
    linked(environment / "bin", (path for path in (Path(sys.prefix) / "bin").iterdir() if path.name not in but))
    return environment


def tried(page: Path) -> list[Block]:
    return [block for block in blocks(page.read_text()) if block.why is None]


def given(page: Path) -> Block:
    """What a reader of the page has before it begins: of a lesson nothing, for it says all that it needs."""
    files = [] if page in LESSONS else [GIVEN / "reader.sh", GIVEN / f"{page.stem}.sh"]
    return Block(0, "\n".join(file.read_text() for file in files if file.exists()), "", None)


@asynccontextmanager
async def warm(environment: Path) -> AsyncIterator[None]:
    """Our commands in an environment are of a process that has imported them."""
    path = environment / "warm"
    install(environment / "bin", path)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.docs.warm", path), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.kill()
        await process.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def checkout(tmp_path_factory):
    """A folder as a reader has it, the service running from it; the folder, and addresses for those that pages name."""
    if missing := [program for program in ("bash", "curl", "openssl") if not shutil.which(program)]:
        pytest.skip(f"what readers type needs {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("checkout")
    linked(folder, (ROOT / name for name in LINKS))
    shutil.copy(ROOT / "guards/policies/default.yaml", folder / "policy.yaml")
    environment = prepared(folder / ".venv", () if PROVE else MAINS)
    console = free_port()
    settings = {"client_key": "sg-client-mine", "admin_key": "sg-admin-mine", "policy": str(folder / "policy.yaml")}
    settings |= {"console": "true", "console_port": str(console)}
    async with (
        nullcontext() if PROVE else warm(environment),
        wire(answer, model=MODEL) as engine,
        gateway(folder / "var", engine_url=engine, **settings) as (_, url),
    ):
        yield folder, {"http://127.0.0.1:8080": url, "http://127.0.0.1:8081": f"http://127.0.0.1:{console}"}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("page", [p for p in PAGES if tried(p)], ids=lambda page: page.stem)
async def test_commands_work(checkout, page):
    """Every command of the page ends well, in order, and prints what the page shows."""
    folder, instead = checkout
    own = {name: value for name, value in os.environ.items() if not name.startswith(("SLUICEGATE_", "PYTEST_"))}
    own |= {"HOME": str(folder), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    wrong = await faults([given(page), *tried(page)], folder, own, instead)
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_client_of_the_readme_works(checkout):
    """The program that the README shows, with a key that there is."""
    code = re.search(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)[1]
    assert "sg-client-..." in code
    code = replaced(code, checkout[1] | {"sg-client-...": "sg-client-mine"})
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert (await process.communicate())[0] == answer("").encode()


def test_what_is_not_run_is_counted():
    """A command that the tests do not run says why, and nobody adds one unseen."""
    texts = [page.read_text() for page in PAGES]
    assert sum(block.why is not None for text in texts for block in blocks(text)) == NOT_RUN
    for page, text in zip(PAGES, texts, strict=True):
        assert text.count("```sh\n") == len(list(BLOCK.finditer(text))), page
        assert not re.search("^```(?:bash|shell|console)$", text, re.M), f"{page}: a block that nobody runs"
        assert TYPED.findall(BLOCK.sub("", text)) == [], f"{page}: commands that nobody runs"
    assert all(tried(page) for page in LESSONS), "a lesson without a command that can be tried"


def test_a_line_that_is_not_printed_is_found():
    """Lines shown are sought in their order, `...` is anything, and indentation is not looked at."""
    said = '{\n  "a": 1,\n  "b": "exc_12"\n}\n'
    assert first_missing('"a": 1,\n"b": "exc_..."', said) is None
    assert first_missing('"b": "exc_..."\n"a": 1,', said) == '"a": 1,'
    assert first_missing('"a": 2,', said) == '"a": 2,'


@pytest.mark.asyncio
async def test_a_command_that_fails_is_found(tmp_path):
    """With its line and what it said; one that prints something else than is shown, too."""
    page = "```sh\necho one\n```\n\n```output\n{}\n```\n\n```sh\n{}\n```\n"
    own = {"PATH": os.environ["PATH"]}
    assert await faults(blocks(page.format("one", "true")), tmp_path, own, {}) == []
    (failed,) = await faults(blocks(page.format("one", "ls nowhere")), tmp_path, own, {})
    assert failed.startswith("line 9:\nls nowhere")
    (unseen,) = await faults(blocks(page.format("two", "true")), tmp_path, own, {})
    assert "shows 'two', which is not in:\none" in unseen


def test_the_keys_of_a_first_shift_are_those_of_the_console():
    """Every key that the moderator's tutorial names does something in the console."""
    known = {key for line in KEYS for key in line.keys}
    text = (ROOT / "docs/tutorials/moderator.md").read_text().replace("</kbd>+<kbd>", "+")
    named = set(re.findall(r"<kbd>(.+?)</kbd>", text))
    assert len(named) > 15
    assert named <= known
