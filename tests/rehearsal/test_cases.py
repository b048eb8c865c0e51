import json

import pytest

from guards.verdict import Passage
from service.gate.exchange import Asked
from service.rehearsal.cases import SHIPPED, Case, CaseError, fault, read, run
from service.rehearsal.gate import rehearse
from tests.fakes import BrokenGuard
from tests.rehearsal.conftest import WORDS, file, policy

LONG = "A quiet answer about gardens and rivers. " * 12


def case(**fields):
    return Case.model_validate({"prompt": "hello", "expect": "allow"} | fields)


def asked(text="hello", kind="prompt"):
    return Asked("chat", {"model": "m"}, (Passage(text, kind),), lambda texts: {"model": "m"}, stream=True)


async def test_the_real_gate_decides(judges):
    """Input and output are refused, redacted, replaced or allowed as the gate would, and the stage is told."""
    replacing = policy(output={"response_harm": {"action": "replace"}})
    for rules, prompt, response, stage, action in (
        (policy(), "hello", LONG, "output", "allow"),
        (policy(), "a storm", LONG, "input", "refuse"),
        (policy(), "card 4111", LONG, "input", "redact"),
        (policy(), "hello", LONG + "flood" + LONG, "output", "refuse"),
        (policy(), "hello", "card 4111 is it", "output", "redact"),
        (replacing, "hello", LONG + "flood", "output", "replace"),
    ):
        seen = await rehearse(judges, rules, asked(prompt), {"0/content": response}, "acme")
        assert seen.effects[stage].action == action
        assert seen.effect.action == action
    seen = await rehearse(judges, policy(), asked(), {"0/content": "card 4111 is it"}, "acme")
    assert seen.released == "card [card] is it"


async def test_a_rehearsed_answer_is_judged_as_often_as_a_slow_one(judges, guard):
    """The script waits for the judges: segments grow from the first one's length as they would at a slow engine."""
    rules = policy(first_segment_chars=8, lookahead_chars=0, most_segment_chars=64)
    await rehearse(judges, rules, asked(), {"0/content": "x" * 400}, "acme")
    lengths = [len(p.text) for p in guard.judged if p.kind == "response"]
    assert lengths == [8, 24, 56, *range(120, 401, 64), 400]


async def test_every_channel_and_choice_is_rehearsed(judges):
    """Reasoning, tool arguments and second choices, as the ledger keeps them, go through the gate too."""
    for place in ("0/reasoning", "0/tool_arguments/0", "1/content"):
        both = Asked("chat", {"model": "m"}, (Passage("hello"),), lambda texts: {}, choices=2)
        seen = await rehearse(judges, policy(), both, {"0/content": "fine", place: "lookup\nflood"}, "acme")
        assert seen.effects["output"].action == "refuse", place


async def test_cases_pass_or_say_why_not(judges):
    """A case fails with what became of it; its stage and categories count where they are given."""
    cases = [
        case(),
        case(prompt="a storm", expect="refuse", stage="input", categories=["harm"]),
        case(prompt="a storm"),
        case(response="a flood", expect="refuse", stage="input"),
        case(prompt="a storm", expect="refuse", categories=["hate"]),
        case(messages=[{"role": "user", "content": "a storm"}], prompt=None, expect="refuse"),
    ]
    outcomes = await run(judges, file(), cases)
    assert [o.fault for o in outcomes] == [
        "",
        "",
        "refuse, not allow (input.harm: refuse)",
        "allow, not refuse (output.response_harm: refuse)",
        "refuse not for hate (input.harm: refuse)",
        "",
    ]


async def test_a_case_names_whose_policy_it_is_about(judges):
    """Tenant, key and moment of a case choose the policy, as they do for a caller."""
    night = {"name": "night", "from": "22:00", "to": "06:00", "then": {"input": {"harm": {"action": "allow"}}}}
    laxer = {"input": {"harm": {"action": "flag"}}}
    policies = file(
        tenants={"acme": laxer}, keys={"key_1": {"input": {"harm": {"action": "replace"}}}}, schedules=[night]
    )
    noon = {"prompt": "a storm", "at": "2026-11-20T12:00:00"}
    cases = [
        case(**noon, expect="refuse"),
        case(**noon, expect="flag", tenant="acme"),
        case(**noon, expect="replace", tenant="acme", key="key_1"),
        case(prompt="a storm", at="2026-11-20T23:00:00+00:00", expect="allow"),
    ]
    assert [o.fault for o in await run(judges, policies, cases)] == ["", "", "", ""]


async def test_a_guard_that_fails_passes_no_case():
    """A refusal because a guard could not judge is not the refusal that was expected."""
    from service.judges import BatchedJudges
    from service.telemetry.metrics import Metrics

    async with BatchedJudges([BrokenGuard(WORDS)], Metrics()) as judges:
        (outcome,) = await run(judges, file(), [case(expect="refuse")])
    assert "could not judge" in outcome.fault
    assert outcome.rehearsed.effects["input"].failed


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("a.yaml", "cases: [{prompt: a, expect: alow}]", "case 1: expect"),
        ("a.yaml", "- {expect: allow}", "either `prompt` or `messages`"),
        ("a.yaml", "- {prompt: a, messages: [], expect: allow}", "messages"),
        ("a.yaml", "- {messages: [{role: king, content: a}], expect: allow}", "messages"),
        ("a.yaml", "- {prompt: a, expect: allow, categories: [harm]}", "no categories"),
        ("a.yaml", "[", "neither JSONL nor YAML"),
        ("a.yaml", "", "no case"),
        ("a.yaml", "just words", "case 1"),
        ("a.jsonl", '{"prompt": "a", "expect": "allow"}\n{"prompt": "a"}', "case 2: expect"),
        ("b.yaml", None, "cannot be read"),
    ],
)
def test_wrong_cases_are_named(tmp_path, name, body, said):
    """A file of cases that is wrong is refused with the number of the case and the field."""
    if body is not None:
        (tmp_path / name).write_text(body)
    with pytest.raises(CaseError, match=said):
        read(tmp_path / name)


def test_the_shipped_cases_hold(command):
    """With the guard and the policy that ship, every shipped case goes as expected."""
    result = command("policy", "test")
    assert f"{len(read(SHIPPED))} of {len(read(SHIPPED))} as expected" in result.stdout


def test_a_case_that_fails_ends_with_one(command, tmp_path):
    """`policy test` prints a table without texts and exits 1 when a case goes otherwise; `--json` says the same."""
    (tmp_path / "cases.jsonl").write_text(
        json.dumps({"prompt": "My card is 4111 1111 1111 1111", "expect": "allow", "note": "a card"}) + "\n"
    )
    result = command("policy", "test", tmp_path / "cases.jsonl", code=1)
    assert "FAIL" in result.stdout
    assert "a card" in result.stdout
    assert "4111" not in result.stdout
    told = json.loads(command("policy", "test", tmp_path / "cases.jsonl", "--json", code=1).stdout)
    assert (told[0]["fault"], told[0]["input"]["found"]) == (
        "redact, not allow (input.card: redact)",
        {"card": "redact"},
    )


def test_a_shadow_verdict_has_no_effect():
    """What is only recorded is not what becomes of a case."""
    from service.rehearsal.gate import Rehearsed, effect
    from tests.rehearsal.test_replay import row

    verdicts = [row("harm", action="refuse", mode="shadow")]
    assert effect(verdicts, "input").action == "allow"
    rehearsed = Rehearsed({"input": effect(verdicts, "input"), "output": effect([], "output")}, (), "")
    assert fault(case(), rehearsed) == ""
