import asyncio
import time
import uuid

import pytest

from guards.patterns import PatternGuard
from guards.registry import load
from service.ledger.ledger import SqlLedger
from service.ledger.models import Exchange, VerdictRow
from service.rehearsal.replay import EXEMPT, NO_SCORES, NOT_ASKED, OTHER_GUARD, Candidate, from_scores, policy_of
from service.rehearsal.report import figures, html, plain
from service.rehearsal.traffic import Recorded
from service.review.decisions import Decision, decide
from service.settings import Settings
from tests.fakes import WordGuard
from tests.rehearsal.conftest import WORDS, file, policy

GUARD = WordGuard(WORDS)
COVERED = dict.fromkeys(WORDS, 0.0)


def test_a_finding_of_several_turns_stays_one():
    """What only several turns showed together is above every text's score: it is replayed at its own threshold."""
    split = stored({"harm": 0.2}, verdicts=[row("harm", score=0.9)])
    assert from_scores(split, candidate(policy())).states == ("refused", "refused")
    assert from_scores(split, candidate(policy(turns_threshold=0.95))).states == ("refused", "allowed")


def test_a_language_nobody_reads_is_replayed():
    """The stored language of a text follows the candidate's `uncovered`, as it would at the gate."""
    one = stored({"harm": 0.1}, {})
    one.exchange.scores["language"] = {"version": "1", "digest": "d", "input": {"language:de": 0.95}, "output": {}}
    guards = {"words": GUARD, "language": WordGuard({"language:de": "und"}, "language")}

    def after(**uncovered):
        rules = policy(uncovered=uncovered)
        return from_scores(one, Candidate(lambda _: rules, guards)).states[1]

    assert after() == "flagged"
    assert after(language="refuse") == "refused"
    assert after(accepted_languages=["de"]) == "allowed"


def test_the_policy_is_that_of_the_exchange():
    """Tenant, key and moment of an exchange choose the candidate's policy."""
    one = Exchange(tenant="acme", key_id="key_1", asked_at=1.8e9)
    policies = file(tenants={"acme": {"lookahead_chars": 7}}, keys={"key_1": {"deadline_s": 1.0}})
    found = policy_of(policies)(one)
    assert (found.lookahead_chars, found.deadline_s) == (7, 1)


def row(category, score=0.9, action="refuse", stage="input", channel="prompt", mode="enforce", error=None, spans=()):
    return VerdictRow(
        guard="words",
        version="1",
        digest=GUARD.digest,
        category=category,
        score=None if error else score,
        action=action,
        stage=stage,
        channel=channel,
        mode=mode,
        error=error,
        spans=list(spans),
    )


def stored(asked=None, answered=None, verdicts=(), digest=GUARD.digest, labels=None, guard="words"):
    scores = {"version": "1", "digest": digest}
    scores |= {"input": COVERED | asked if asked is not None else {}}
    scores |= {"output": COVERED | answered if answered is not None else {}}
    exchange = Exchange(id="exc_" + uuid.uuid4().hex, scores={guard: scores}, tenant="acme")
    return Recorded(exchange, list(verdicts), labels or {})


def candidate(rules, **options):
    return Candidate(lambda _: rules, {"words": GUARD}, **options)


def test_a_flip_is_found_each_way():
    """With stored scores alone a stricter threshold refuses, a laxer one allows, and another action is told."""
    clean = stored({"harm": 0.4}, {})
    refused = stored({"harm": 0.9}, verdicts=[row("harm")])
    strict, lax = policy(input={"harm": {"threshold": 0.3}}), policy(input={"harm": {"threshold": 0.95}})
    flag = policy(input={"harm": {"action": "flag"}})
    assert from_scores(clean, candidate(strict)).states == ("allowed", "refused")
    assert from_scores(refused, candidate(lax)).states == ("refused", "allowed")
    assert from_scores(refused, candidate(flag)).states == ("refused", "flagged")
    assert from_scores(clean, candidate(policy())).states == ("allowed", "allowed")


def test_scores_of_another_guard_are_not_mixed_in():
    """Scores stored by another version of a guard are left out and counted, unless they are asked for."""
    old = stored({"harm": 0.9}, {}, digest="another")
    assert from_scores(old, candidate(policy())).unknown == OTHER_GUARD
    assert from_scores(old, candidate(policy(), any_version=True)).states == ("allowed", "refused")


def test_what_was_not_asked_cannot_be_replayed():
    """A guard or a category that nobody asked for then is said to be unknown, never clean."""
    rules = policy(guards=["words"], input={"harm": {}})
    assert from_scores(stored({"harm": 0.1}, guard="others"), candidate(rules)).unknown == NOT_ASKED
    assert from_scores(Recorded(Exchange(id="exc_1", scores=None), [], {}), candidate(rules)).unknown == NO_SCORES


def test_a_guard_that_failed_then_fails_again():
    """Where a guard failed, the candidate's own on_error says what happens."""
    failed = Recorded(
        Exchange(id="exc_1", scores={"words": {"version": "1", "digest": GUARD.digest, "input": {}, "output": {}}}),
        [row("harm", error="deadline")],
        {},
    )
    assert from_scores(failed, candidate(policy())).states == ("unavailable", "unavailable")
    assert from_scores(failed, candidate(policy(on_error="flag"))).states == ("unavailable", "flagged")


def test_a_failure_beside_scores_is_not_forgotten():
    """A guard that failed on one text of several failed, although it has scores of the others."""
    partly = stored({"harm": 0.1}, verdicts=[row("harm", error="deadline")])
    assert from_scores(partly, candidate(policy())).states == ("unavailable", "unavailable")
    assert from_scores(partly, candidate(policy(on_error="allow"))).states == ("unavailable", "allowed")


def test_an_exempt_text_is_not_guessed():
    """A highest score that may be of an exempt text decides nothing, unless a verdict says of which text it is."""
    rules = {"input": {"injection": {"action": "refuse"}, "harm": {}}, "exempt": {"system": ["injection"]}}
    high = {"injection": 0.9}
    assert from_scores(stored(high, {}), candidate(policy(**rules))).unknown == EXEMPT
    by_user = stored(high, verdicts=[row("injection", channel="prompt")])
    assert from_scores(by_user, candidate(policy(**rules))).states == ("refused", "refused")
    by_system = stored(high, verdicts=[row("injection", channel="system")])
    assert from_scores(by_system, candidate(policy(**rules))).unknown == EXEMPT
    harmful_too = stored(high | {"harm": 0.9}, verdicts=[row("harm")])
    assert from_scores(harmful_too, candidate(policy(**rules))).states == ("refused", "refused")


def test_redaction_is_replayed_where_a_guard_marks():
    """`redact` stays a redaction for what guards mark, and is the refusal it would be for what they do not."""
    rules = policy(input={"card": {"action": "redact"}, "harm": {"action": "redact"}})
    assert from_scores(stored({"card": 1.0}, {}), candidate(rules)).states[1] == "redacted"
    assert from_scores(stored({"harm": 1.0}, {}), candidate(rules)).states[1] == "refused"
    marked = stored({"harm": 1.0}, verdicts=[row("harm", action="redact", spans=[[0, 2, "harm"]])])
    assert from_scores(marked, candidate(rules)).states == ("redacted", "redacted")


def test_figures_count_with_intervals():
    """Transitions, categories and precision against people's decisions are counted, each share with its interval."""
    harmful, fine = {"input": "harmful"}, {"input": "ok"}
    found = [stored({"harm": 0.9}, verdicts=[row("harm")], labels=harmful) for _ in range(6)]
    found += [stored({"harm": 0.6}, verdicts=[row("harm", 0.6)], labels=fine) for _ in range(4)]
    found += [stored({"harm": 0.1}, {}) for _ in range(10)] + [stored({}, {}, digest="another")]
    rules = policy(input={"harm": {"threshold": 0.8}})
    told = figures([from_scores(r, candidate(rules)) for r in found], rules)
    assert (told["exchanges"], told["replayed"], told["left_out"]) == (21, 20, {OTHER_GUARD: 1})
    assert told["flipped"]["share"] == {
        "value": 0.2,
        "low": pytest.approx(0.0807, abs=1e-3),
        "high": pytest.approx(0.416, abs=1e-3),
    }
    assert [(t["before"], t["after"], t["exchanges"]) for t in told["transitions"]] == [("refused", "allowed", 4)]
    (harm,) = told["categories"]
    assert (harm["before"], harm["after"], harm["gained"], harm["lost"]) == (10, 6, 0, 4)
    blocked = told["labels"][0]
    assert (blocked["before"]["precision"]["value"], blocked["after"]["precision"]["value"]) == (0.6, 1)
    assert blocked["after"]["recall"]["value"] == 1
    assert len(told["flips"]) == 4
    assert "4 would go otherwise" in plain(told)
    assert "another version" in plain(told)
    assert html(told).count("<table>") == 4


def test_nothing_to_replay_is_said():
    """No stored exchange is no division by nothing."""
    told = figures([], policy())
    assert "0 of 0 exchanges" in plain(told)
    assert "share" not in told["flipped"]


@pytest.fixture
def traffic(tmp_path):
    """Three exchanges in a real ledger: refused with its text, clean, and clean but of long ago."""
    from tests.store.events import asked, closed, verdict

    default, patterns = load(), PatternGuard()

    def scores(**harm):
        def of(guard, more=()):
            inputs = dict.fromkeys(guard.covers("input"), 0.01) | dict(more)
            return {"version": guard.version, "digest": guard.digest, "input": inputs, "output": {}}

        return {"default": of(default, harm), "patterns": of(patterns)}

    ids = ["exc_" + uuid.uuid4().hex for _ in range(3)]
    refused = [asked(ids[0]), verdict(ids[0]), closed(ids[0], flagged=True) | {"scores": scores(harm=0.93)}]
    clean = [asked(ids[1]), closed(ids[1]) | {"scores": scores(harm=0.42)}]
    old = [asked(ids[2]) | {"at": time.time() - 90 * 86400}, closed(ids[2]) | {"scores": scores(harm=0.42)}]

    async def write():
        ledger = SqlLedger(Settings(home=tmp_path))
        await ledger.start()
        for event in [*refused, *clean, *old]:
            await ledger.commit(event)
        await ledger.drain(20)
        await decide(ledger.store, ids[0], Decision("ada", input="harmful"))
        await ledger.stop()

    asyncio.run(write())
    return ids


STRICT = """
name: strict
version: 2
guards: [default, patterns]
input: {harm: {threshold: 0.4}, card: {action: redact}}
"""


def test_stored_traffic_is_replayed(command, traffic, tmp_path):
    """`policy replay` finds what a candidate would refuse, within the time asked for, and writes a report."""
    import json

    (tmp_path / "strict.yaml").write_text(STRICT)
    told = json.loads(
        command("policy", "replay", tmp_path / "strict.yaml", "--json", "--html", tmp_path / "out.html").stdout
    )
    assert (told["exchanges"], told["replayed"]) == (2, 2)
    assert [(f["id"], f["after"]) for f in told["flips"]] == [(traffic[1], "refused")]
    assert told["labels"][0]["labelled"] == 1
    assert traffic[1] in (tmp_path / "out.html").read_text()
    everything = command("policy", "replay", tmp_path / "strict.yaml", "--since", "2020-01-01").stdout
    assert "3 of 3 exchanges" in everything
    assert "2 would go otherwise" in everything
    one = command("policy", "replay", tmp_path / "strict.yaml", "--since", "52w", "--limit", 1).stdout
    assert "1 of 1 exchanges" in one


def test_kept_texts_are_judged_anew(command, traffic, tmp_path):
    """With `--rejudge` an exchange whose text was kept is judged by the guards of now, through the real gate."""
    (tmp_path / "strict.yaml").write_text(STRICT)
    anew = command("policy", "replay", tmp_path / "strict.yaml", "--rejudge").stdout
    assert "1 of them judged anew" in anew
    assert "refused  allowed" in anew


def test_a_wrong_wish_is_one_line(command, tmp_path):
    """A time that cannot be read, or a policy that cannot be used, ends with advice and exit code 1."""
    (tmp_path / "strict.yaml").write_text(STRICT)
    assert "24h" in command("policy", "replay", tmp_path / "strict.yaml", "--since", "lately", code=1).stderr
    (tmp_path / "wrong.yaml").write_text("name: x")
    assert "guards" in command("policy", "replay", tmp_path / "wrong.yaml", code=1).stderr
