"""The guards file: which guards there are, by name, and every fault of the file by its line."""

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from guards.classifier import read_manifest
from guards.guard import GuardError
from guards.policy import load
from guards.registry import MODELS, SHIPPED, GuardsFile, Loading, build, read
from guards.verdict import Passage
from service.app import StartError, checked
from service.cli.main import app
from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def file(tmp_path: Path):
    def written(text: str) -> Path:
        path = tmp_path / "guards.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_without_a_file_those_that_ship_are_there():
    """The shipped classifier, the patterns and the triggers need no file."""
    guards = build(GuardsFile(), Loading())
    assert {name: guard.name for name, guard in guards.items()} == {name: name for name in SHIPPED}


def test_the_shipped_guard_is_measured_in_english():
    """Every category of the shipped classifier is recalled in English as often as the shipped policy asks for."""
    found = read_manifest(MODELS / "default")[0].languages["en"]
    assert min(found.values()) >= load().uncovered.language_recall
    assert found.keys() == read_manifest(MODELS / "default")[0].heads.keys()


def test_a_guard_of_the_file_has_the_name_that_policies_use(file):
    """Guards of the file stand beside those that ship and answer under the file's names."""
    path = file(
        f"guards:\n  german: {{kind: patterns, regions: [DE]}}\n  two: {{kind: classifier, folder: {MODELS}/default}}"
    )
    guards = build(read(path), Loading())
    assert guards.keys() == SHIPPED.keys() | {"german", "two"}
    assert {g.name for g in guards.values()} == guards.keys()
    assert guards["two"].digest == guards["default"].digest
    number = Passage("heute nicht, sondern 030 901820 am Abend")
    assert guards["german"].judge([number])[0].by_category["phone"] > 0.5
    assert guards["patterns"].judge([number])[0].by_category["phone"] == 0


def test_a_guard_of_the_file_may_stand_in_for_one_that_ships(file):
    """`patterns` of the file takes the place of the one that ships, under every policy."""
    guards = build(read(file("guards:\n  patterns: {kind: patterns, regions: [FR]}\n")), Loading())
    assert guards["patterns"].regions == ("FR",)


def test_folders_are_relative_to_the_file(file):
    """A relative folder begins where the guards file is, wherever the service was started."""
    path = file("guards:\n  mine: {kind: classifier, folder: there}\n")
    (path.parent / "there").symlink_to(MODELS / "default", target_is_directory=True)
    assert "mine" in build(read(path), Loading(path.parent))
    with pytest.raises(GuardError, match="guard 'mine': no guard"):
        build(read(path), Loading(path.parent / "elsewhere"))


def test_the_documentation_shows_guards_files():
    """Every example of docs/guards.md is one, and together they use every kind that takes more than its name."""
    shown = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "guards.md").read_text(encoding="utf-8"), re.DOTALL)
    examples = [yaml.safe_load(block) for block in shown]
    guards = {name: spec for example in examples for name, spec in example["guards"].items()}
    assert len(guards) == sum(len(example["guards"]) for example in examples), "a name is used twice"
    categories = [c for example in examples for c in example.get("categories", ())]
    file = GuardsFile.model_validate({"guards": guards, "categories": categories})
    kinds = {"huggingface", "keywords", "regex", "cascade", "generative", "remote"}
    assert {spec.kind for spec in file.guards.values()} >= kinds


FAULTS = [
    ("guards:\n  x: {kind: nonesuch}\n", r"line 2: guards.x: .*'nonesuch'.*'patterns'"),
    ("guards:\n  x: {folder: there}\n", r"line 2: guards.x: `kind` is missing"),
    ("guards:\n  x:\n    kind: classifier\n    foldr: y\n", r"line 4: guards.x.foldr: there is no such field"),
    ("guards:\n  x:\n    kind: classifier\n", r"line 2: guards.x.folder: is missing"),
    ("guards:\n  X y: {kind: patterns}\n", r"line 2: guards.X y: String should match"),
    ("guards:\n  x: {kind: patterns}\n  x: {kind: patterns}\n", r"line 3: guards.x: is there already, in line 2"),
    ("guards:\n  x:\n    kind: patterns\n    regions: [US, usa]\n", r"line 4: guards.x.regions.1: String should match"),
    ("guards: [patterns]\n", r"line 1: guards: should be fields with values"),
    ("gards: {}\n", r"line 1: gards: there is no such field"),
    ("guards: {x: [}\n", r"not valid YAML"),
]


@pytest.mark.parametrize(("text", "message"), FAULTS, ids=range(len(FAULTS)))
def test_a_fault_is_named_with_its_line(file, text, message):
    """What is wrong in a guards file is told with file, line and field."""
    with pytest.raises(GuardError, match=message):
        read(file(text))


def test_a_guard_that_runs_elsewhere_needs_a_wire(file):
    """A remote guard where nothing can connect is an error, not a guard that never answers."""
    path = file("guards:\n  far: {kind: remote, url: 'http://127.0.0.1:1'}\n")
    with pytest.raises(GuardError, match="guard 'far': it runs elsewhere"):
        build(read(path), Loading())


def test_the_service_starts_with_the_guards_of_the_file(file, tmp_path):
    """A policy may name a guard of the file; one that nobody brings ends the start and says which there are."""
    guards = file("guards:\n  german: {kind: patterns, regions: [DE]}\n")
    policy = tmp_path / "policy.yaml"
    policy.write_text("{name: p, version: 1, guards: [german], input: {phone: {action: redact}}}")
    loaded = checked(Settings(guards=guards, policy=policy))
    assert "german" in {g.name for g in loaded.guards}
    with pytest.raises(StartError, match=r"'german' is not loaded.*patterns"):
        checked(Settings(policy=policy))


def test_an_entry_longer_than_the_lookahead_is_a_fault_of_the_policy(file, tmp_path):
    """Of an entry that is longer than what a stream holds back a part would leave: such a policy is not used."""
    guards = file("guards:\n  words: {kind: keywords, lists: {hate: [a phrase of thirty characters.]}}\n")
    policy = tmp_path / "policy.yaml"
    for fields, fault in (
        ("output: {hate: {}}", "lookahead_chars: 24 is too little for guard 'words', whose longest entry takes 31"),
        ("output: {hate: {}}, lookahead_chars: 31", None),
        ("output: {hate: {}}, streaming: full", None),
        ("input: {hate: {}}", None),
    ):
        policy.write_text(f"{{name: p, version: 1, guards: [words], {fields}}}")
        checking = CliRunner().invoke(app, ["policy", "check", str(policy)], env={"SLUICEGATE_GUARDS": str(guards)})
        assert checking.exit_code == (1 if fault else 0), checking.output
        if fault:
            assert fault in checking.output
            with pytest.raises(StartError, match=fault):
                checked(Settings(guards=guards, policy=policy))


def test_a_broken_file_ends_the_start(file):
    """The service does not start on a guards file with a fault."""
    with pytest.raises(StartError, match=r"guards\.yaml:\n  line 1: gards"):
        checked(Settings(guards=file("gards: {}\n")))


def test_check_loads_and_asks_every_guard(file):
    """`guards check` prints version, digest and categories of each guard; a fault is exit code 1 with its line."""
    good = CliRunner().invoke(
        app, ["guards", "check", str(file("guards:\n  german: {kind: patterns, regions: [DE]}\n"))]
    )
    assert good.exit_code == 0, good.output
    assert "german" in good.output
    assert "iban" in good.output
    bad = CliRunner().invoke(app, ["guards", "check", str(file("guards:\n  x: {kind: classifier, folder: nowhere}\n"))])
    assert bad.exit_code == 1
    assert "guard 'x': no guard" in bad.output


def test_show_tells_what_a_guard_judges():
    """`guards show` loads one guard and prints its digest and categories; an unknown name tells which there are."""
    shown = CliRunner().invoke(app, ["guards", "show", "patterns"])
    assert shown.exit_code == 0, shown.output
    assert "card" in shown.output
    unknown = CliRunner().invoke(app, ["guards", "show", "nonesuch"])
    assert unknown.exit_code == 1
    assert "patterns" in unknown.output


def test_list_names_kinds_without_loading(file):
    """`guards list` with a file names guards and their kinds, remote ones too, and loads none."""
    path = file("guards:\n  far: {kind: remote, url: 'http://127.0.0.1:1'}\n")
    listed = CliRunner().invoke(app, ["guards", "list", "--file", str(path)])
    assert listed.exit_code == 0, listed.output
    assert "far" in listed.output
    assert "remote" in listed.output
