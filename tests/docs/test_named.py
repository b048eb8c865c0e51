"""Every command that a document or a recipe names is one that there is, with the options it is given."""

import ast
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import typer

from docs.site.help import leaves
from service.cli.main import app
from training.cli import VERBS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(ROOT.glob("*.md")) + sorted(
    path
    for pattern in ("docs/**/*.md", "bench/*.md", "guards/**/*.md", "training/**/*.md", "training/recipes/*.yaml")
    for path in ROOT.glob(pattern)
)
PROGRAM = r"(?:\.venv(?:-engine)?/bin/)?(sluicegate(?:-train)?|make|python -m bench\.\w+)(?![\w./-])[^`#\n|;)]*"
SHOWN = re.compile(rf"(?:`|^(?:# | {{4,}})?(?:\w+=\S+ )*|(?:--|\|\||&&) )({PROGRAM})", re.M)
WORD = re.compile(r"[a-z][\w.-]*")


def commands(text):
    """What begins with one of our programs, in backticks or at the beginning of a line of code, one command each."""
    return [found.group(1).strip() for found in SHOWN.finditer(text.replace("\\\n", " "))]


@cache
def gateway_verbs():
    """Options of each verb of `sluicegate`, by the words that call it."""
    found = leaves("", typer.main.get_command(app))
    return {
        tuple(path.split()): {name for p in verb.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
        for path, verb in found
    }


@cache
def options_in(*sources):
    """What looks like an option in files of ours."""
    text = " ".join((ROOT / source).read_text() for source in sources)
    return set(re.findall(r"--[a-z][\w-]*", text)) | {"--help"}


@cache
def targets():
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))


def fault(command):
    """What is wrong with a command, or None."""
    try:
        program, *words = shlex.split(command)
    except ValueError:
        return None  # a piece of a sentence
    options = {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}
    program = Path(program).name
    if program == "make":
        prose = any("=" not in word for word in words[1:])
        return None if prose or not words or words[0] in targets() else f"no target {words[0]}"
    if program == "python":
        module = words[1].replace(".", "/") + ".py"
        known = options_in(module) if (ROOT / module).is_file() else None
    elif program == "sluicegate-train":
        verb = next(iter(words), "--help")
        if not WORD.fullmatch(verb):
            return None
        module = VERBS[verb][0].replace(".", "/") if verb in VERBS else None
        known = options_in(f"training/{module}.py", *learned(module)) if module else None
    else:
        named = [word for word in words if WORD.fullmatch(word)][:2]
        verbs = [verb for verb in gateway_verbs() if tuple(words[: len(verb)]) == verb]
        if not verbs and not any(list(verb[: len(named)]) == named for verb in gateway_verbs()):
            return f"no verb {' '.join(named)}"
        known = gateway_verbs()[verbs[0]] if verbs else options
    if known is None:
        return "no such command"
    return f"no option {sorted(options - known)}" if options - known else None


def learned(module):
    """Files that a verb of training takes options from: those it imports."""
    tree = ast.parse((ROOT / f"training/{module}.py").read_text())
    names = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module]
    names += [f"{n.module}.{a.name}" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names]
    paths = (f"{name.replace('.', '/')}.py" for name in names if name.startswith("training"))
    return tuple(sorted({path for path in paths if (ROOT / path).is_file()}))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_named_are_commands(document):
    """Program, verb and options of each."""
    text = document.read_text(encoding="utf-8")
    assert {command: wrong for command in commands(text) if (wrong := fault(command))} == {}


def test_a_wrong_command_is_found():
    wrong = [
        "sluicegate serv",
        "sluicegate keys mint",
        "sluicegate keys create --rol x",
        "sluicegate-train gard",
        "make sevre",
    ]
    wrong += ["sluicegate-train guard --seeed 3", "python -m bench.nothing", "python -m bench.paired --round 2"]
    assert [command for command in wrong if fault(command) is None] == []
    right = ["sluicegate keys create --role client", "sluicegate-train loop --once", "make test", "sluicegate"]
    assert [command for command in right if fault(command)] == []
