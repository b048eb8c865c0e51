"""Policies: what is understood, what is refused and where, and what the documentation says of them."""

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from guards.patterns import FOUND
from guards.policy import (
    DEFAULT_POLICY,
    PolicyError,
    PolicyFile,
    Rule,
    Schedule,
    Uncovered,
    load,
    load_file,
    parse,
    parse_file,
    uncovered_cells,
)
from guards.registry import shipped
from guards.taxonomy import CATEGORIES

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(DEFAULT_POLICY.parent.glob("*.yaml"))
SMALL = "name: small\nversion: 1\nguards: [patterns]\noutput:\n  card: {action: redact}\n"
DOCUMENT = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")

FAULTS = [
    (SMALL + "output: {}\n", "line 6: output: is there already, in line 4"),
    (SMALL + "  card: {action: flag}\n", "line 6: output.card: is there already, in line 5"),
    (SMALL + "outptu: {}\n", "line 6: outptu: there is no such field"),
    (SMALL + "on_error: off\n", "line 6: on_error:"),
    (SMALL + "input:\n  harm:\n    threshold: 1.5\n", "line 8: input.harm.threshold:"),
    (SMALL + "input:\n  harm:\n    action: explode\n", "line 8: input.harm.action:"),
    (SMALL + "input:\n  vibes: {}\n", "unknown categories ['vibes']"),
    (SMALL + "exempt: {system: [jokes]}\n", "unknown categories ['jokes']"),
    (SMALL + "exempt: {poem: [harm]}\n", "line 6: exempt.poem"),
    (SMALL + "uncovered: {modality: allow}\n", "line 6: uncovered.modality:"),
    (SMALL + "sample_share: 0.1\n", "need each other"),
    (SMALL + "store: sampled\n", "need each other"),
    (SMALL + "first_segment_chars: 200\n", "more than most_segment_chars"),
    (SMALL.replace("version: 1", "version: 0"), "line 2: version:"),
    (SMALL.replace("name: small\n", ""), "line 1: name: is missing"),
    (SMALL.replace("[patterns]", "[]"), "line 3: guards:"),
    ("name: small\nversion: 1\nguards: [patterns]\n", "guards nothing"),
    ("", "line 1: policy: should be fields with values"),
    ("- a\n- b\n", "line 1: policy: should be fields with values"),
    ("name: [", "not valid YAML"),
    ("? [a, b]\n: c\n", "not valid YAML"),
    ("a: &a [*a]\n", "line 1: a: there is no such field"),
    ("!!python/object/apply:os.system ['true']", "not valid YAML"),
    ("\x00", "not valid YAML"),
]


@pytest.mark.parametrize(("text", "fault"), FAULTS, ids=range(len(FAULTS)))
def test_faults_are_named_with_their_place(text, fault):
    """A policy that cannot be used is refused with the line, the field and what is wrong."""
    with pytest.raises(PolicyError) as refused:
        parse(text, "my.yaml")
    assert fault in str(refused.value)
    assert str(refused.value).startswith("my.yaml:")


def test_all_faults_at_once():
    """Every fault of a file is listed, in the order of its lines."""
    with pytest.raises(PolicyError) as refused:
        parse("name: X\nversion: 0\nguards: [a]\nversion: 2\nfoo: 1\n")
    lines = [int(n) for n in re.findall(r"line (\d+):", str(refused.value))]
    assert lines == sorted(lines)
    assert {1, 4, 5} <= set(lines)


def test_digest_is_of_the_content():
    """The same content has the same digest however it is written; any other content another one."""
    assert parse(SMALL).digest == parse("# said\n" + SMALL.replace("{action: redact}", "\n    action: redact")).digest
    assert parse(SMALL).digest == parse(SMALL + "lookahead_chars: 24\n").digest
    assert parse(SMALL).digest != parse(SMALL + "lookahead_chars: 25\n").digest


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_policies_are_usable(path):
    """Every policy that ships is right and bears the name of its file."""
    assert load(path).name == path.stem


def test_shadow_enforces_nothing():
    """The shadow policy judges both ways and enforces nothing, also when a guard fails."""
    policy = load(DEFAULT_POLICY.with_name("shadow.yaml"))
    rules = [*policy.input.values(), *policy.output.values()]
    assert {r.mode for r in rules} == {"shadow"}
    assert {r.on_error or policy.on_error for r in rules} == {"allow"}


def test_uncovered_cells():
    """A guard that is not there and a category that nobody judges at that stage are faults."""
    policy = parse(SMALL + "input:\n  harm: {}\n")
    assert uncovered_cells(policy, {"patterns": {"input": frozenset({"harm"}), "output": frozenset({"card"})}}) == []
    faults = uncovered_cells(policy, {"patterns": {"input": frozenset({"card"}), "output": frozenset({"harm"})}})
    assert [f.split(":")[0] for f in faults] == ["input.harm", "output.card"]
    assert "'patterns' is not loaded" in uncovered_cells(policy, {})[0]


def test_a_file_that_cannot_be_read(tmp_path):
    """A policy that is missing, a folder, or not UTF-8 is refused in one line."""
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "latin.yaml"):
        with pytest.raises(PolicyError, match="cannot be read"):
            load(path)


def test_document_has_every_field():
    """docs/policy.md lists the fields of the policy and of a rule, all of them and no others, with their defaults."""
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", DOCUMENT, re.MULTILINE))
    assert rows.keys() - CATEGORIES.keys() == PolicyFile.model_fields.keys() | Rule.model_fields.keys()
    assert all(f"`{name}`" in rows["uncovered"] for name in Uncovered.model_fields)
    for name, field in (*PolicyFile.model_fields.items(), *Rule.model_fields.items()):
        if isinstance(field.default, int | float | str) and field.default != "" and name != "on_error":
            shown = f"{field.default:g}" if isinstance(field.default, int | float) else field.default
            assert shown in rows[name].split("|")[1], name


def test_document_has_every_field_of_a_schedule():
    """The example in docs/policy.md shows each field of a schedule, and is a file that can be used."""
    (example,) = re.findall(r"\n    tenants:\n(?:    .*\n|\n)+?\n", DOCUMENT)
    assert all(re.search(rf"\b{field.alias or name}:", example) for name, field in Schedule.model_fields.items())
    own = SMALL.replace("  card:", "  toxicity: {}\n  card:") + "input: {harm: {}}\n"
    assert len(parse_file(own + dedent(example)).resolved) == 8


def test_document_has_every_category_of_the_guards_that_ship():
    """docs/policy.md explains what the default and the pattern guard find, in the words of the taxonomy."""
    for name in FOUND.union(*(manifest.heads for manifest in shipped())):
        meaning = re.escape(CATEGORIES[name].description)
        assert re.search(rf"^\| `{name}` \| .* \| {meaning} \|$", DOCUMENT, re.MULTILINE)


def test_documented_example_is_usable():
    """The example in docs/policy.md is a policy."""
    (example,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert parse(example).name == "mine"


def run(*arguments, **environment):
    command = [str(Path(sys.executable).with_name("sluicegate")), "policy", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_command_check_prints_the_table(tmp_path):
    """`policy check` prints what is in force for each category, and the digest."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    done = run("check", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert parse(SMALL).digest in done.stdout
    assert re.search(r"^output +card +0\.5 +redact +enforce +refuse$", done.stdout, re.MULTILINE)
    assert "note: no rule for input" in done.stdout


def test_command_check_tells_of_everybody(tmp_path):
    """`policy check` lists the digest of every tenant, key and schedule, and that of the file."""
    path = tmp_path / "all.yaml"
    path.write_text(
        SMALL + "tenants: {acme: {store: none}}\nschedules: [{name: n, from: 22:00, then: {streaming: full}}]\n"
    )
    done, policies = run("check", str(path)), load_file(path)
    assert (done.returncode, done.stderr) == (0, "")
    for source, policy in policies.resolved.items():
        assert f"{policy.digest}  {source}\n" in done.stdout
    assert f"{policies.digest}  the whole file\n" in done.stdout
    path.write_text(SMALL + "tenants: {acme: {input: {harm: {}}}}\n")
    done = run("check", str(path))
    assert (done.returncode, "input.harm: no guard of this policy judges it (tenant acme)" in done.stderr) == (1, True)


def test_command_check_knows_the_guards_file(tmp_path):
    """`policy check` counts guards of a guards file as there."""
    guards, path = tmp_path / "guards.yaml", tmp_path / "p.yaml"
    guards.write_text("guards: {own: {kind: patterns}}\n")
    path.write_text(SMALL.replace("[patterns]", "[own]"))
    assert run("check", str(path)).returncode == 1
    assert run("check", str(path), SLUICEGATE_GUARDS=str(guards)).returncode == 0


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (SMALL + "foo: 1\n", "line 6: foo"),
        (SMALL + "input:\n  harm: {}\n", "input.harm: no guard"),
        (None, "No such file"),
    ],
)
def test_command_check_fails_with_all_faults(tmp_path, text, fault):
    """`policy check` ends with 1 and says what is wrong, without a traceback."""
    path = tmp_path / "bad.yaml"
    if text:
        path.write_text(text)
    done = run("check", str(path))
    assert done.returncode == 1
    assert fault in done.stderr
    assert "Traceback" not in done.stderr


def test_command_schema_knows_the_fields(tmp_path):
    """`policy schema` is a JSON schema of the policy; `policy show` is the policy in full."""
    assert '"lookahead_chars"' in run("schema").stdout
    assert '"digest": "' + load().digest in run("show", SLUICEGATE_HOME=str(tmp_path)).stdout
