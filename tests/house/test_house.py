"""The house keeps its own rules."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def test_imports_go_down_only():
    """Every import contract of pyproject.toml holds, and every module has its floor."""
    done = subprocess.run([BIN / "lint-imports"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_gateway_imports_neither_torch_nor_vllm():
    """All of the gateway, its guards loaded and asked, runs without torch, vllm or transformers."""
    code = """
import sys
from guards.verdict import Passage
from service.app import assembled, checked
from service.settings import Settings
import service.cli.serve, service.cli.main
for guard in checked(Settings()).guards:
    guard.judge([Passage("hello")])
heavy = {"torch", "vllm", "transformers", "tensorflow"} & {name.partition(".")[0] for name in sys.modules}
sys.exit(f"imported: {heavy}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_setting_is_documented():
    """docs/settings.md names each SLUICEGATE_ variable, and no other."""
    import re

    from service.settings import Settings

    documented = set(re.findall(r"`SLUICEGATE_([A-Z_]+)`", (ROOT / "docs/settings.md").read_text()))
    assert {name.upper() for name in Settings.model_fields} <= documented
    assert documented - {name.upper() for name in Settings.model_fields} <= {"DATA", "PROVE"}


def verbs():
    import typer

    from service.cli.main import app

    group = typer.main.get_command(app)
    for noun, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from (f"{noun} {verb}" for verb in command.commands)
        else:
            yield noun


def test_every_verb_is_documented():
    """docs/commands.md names each verb of `sluicegate`."""
    text = (ROOT / "docs/commands.md").read_text()
    missing = [verb for verb in verbs() if f"`sluicegate {verb}" not in text]
    assert missing == []


@pytest.mark.parametrize("verb", list(verbs()))
def test_help_teaches(verb):
    """Each verb's help ends well and shows an example."""
    done = subprocess.run([BIN / "sluicegate", *verb.split(), "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "sluicegate" in done.stdout.partition("Usage")[2].partition("\n")[2], "no example"


def test_the_repository_names_no_machine_and_no_registry():
    """No tracked text file holds a registry's host or a path of somebody's machine."""
    import re

    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    hosts = "|".join(["pypi" + r"\.org", "python" + "hosted", "registry" + r"\.npmjs", "deb" + r"\.debian"])
    pattern = re.compile(rf"{hosts}|/(?:work|root|home/\w+)/")
    found = []
    for name in listed.stdout.split():
        path = ROOT / name
        if path.is_file() and path.suffix in {".py", ".md", ".toml", ".yaml", ".txt", ".json", ".jinja", ""}:
            text = path.read_text(encoding="utf-8", errors="ignore")
            found += [f"{name}: {m.group()}" for m in pattern.finditer(text)]
    assert found == []
