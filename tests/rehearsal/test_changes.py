import json

from service.rehearsal.changes import changes, differences
from tests.rehearsal.conftest import file, policy


def fields(before, after):
    return [(c.place, c.field, c.before, c.after, c.effect) for c in changes(before, after)]


def test_only_what_has_an_effect_differs():
    """A new name, version or description, a default written out, or a rule that allows changes nothing."""
    other = policy(name="yours", version=9, description="words", on_error="refuse")
    written = policy(
        input={
            "harm": {"action": "refuse", "threshold": 0.5, "on_error": "refuse"},
            "card": {"action": "redact"},
            "hate": {"action": "allow"},
        }
    )
    assert changes(policy(), other) == []
    assert changes(policy(), written) == []


def test_rules_say_whether_they_are_stricter():
    """Threshold, action, mode and on_error of each stage and category are compared, and which way they go."""
    after = policy(
        input={"harm": {"action": "flag", "threshold": 0.7}, "injection": {"action": "refuse"}},
        output={"response_harm": {"action": "refuse", "mode": "shadow"}, "card": {"action": "redact"}},
    )
    assert fields(policy(), after) == [
        ("input.card", "rule", "redact from 0.5 (enforce)", "-", "looser"),
        ("input.harm", "threshold", "0.5", "0.7", "looser"),
        ("input.harm", "action", "refuse", "flag", "looser"),
        ("input.injection", "rule", "-", "refuse from 0.5 (enforce)", "stricter"),
        ("output.response_harm", "mode", "enforce", "shadow", "looser"),
    ]


def test_settings_are_compared_with_their_defaults():
    """Release settings, storage, exemptions and a policy-wide on_error show where they take effect."""
    after = policy(on_error="flag", lookahead_chars=48, streaming="full", exempt={"system": ["injection"]})
    found = fields(policy(), after)
    assert ("input.harm", "on_error", "refuse", "flag", "looser") in found
    assert ("policy", "lookahead_chars", "24", "48", "") in found
    assert ("policy", "exempt.system", "-", "injection", "") in found


def test_what_differs_for_some_is_said_once():
    """A tenant, key or schedule shows what differs for it alone; what differs for everybody is not repeated."""
    night = {"name": "night", "from": "22:00", "to": "06:00", "then": {"streaming": "full"}}
    before = file(tenants={"acme": {"lookahead_chars": 64}}, schedules=[night])
    after = file(
        deadline_s=2.0,
        tenants={"acme": {"lookahead_chars": 64}, "other": {"store": "none"}},
        schedules=[night | {"to": "05:00"}],
    )
    assert [(c.whom, c.field, c.before, c.after) for c in differences(before, after)] == [
        ("everybody", "deadline_s", "5", "2"),
        ("tenant other", "store", "flagged", "none"),
        ("tenant other, schedule night", "store", "flagged", "none"),
        ("schedule night", "ends", "360", "300"),
    ]
    assert differences(before, before) == []


def test_diff_exits_like_diff(command, tmp_path):
    """`policy diff` exits 0 for the same effect, 1 for another, and names the fault of a file that is no policy."""
    for name, after in (("a", policy()), ("b", policy(lookahead_chars=48))):
        (tmp_path / f"{name}.yaml").write_text(json.dumps(after.model_dump(mode="json", exclude={"digest"})))
    assert "no difference" in command("policy", "diff", tmp_path / "a.yaml", tmp_path / "a.yaml").stdout
    shown = command("policy", "diff", tmp_path / "a.yaml", tmp_path / "b.yaml", code=1).stdout
    assert "lookahead_chars" in shown
    told = json.loads(command("policy", "diff", tmp_path / "a.yaml", tmp_path / "b.yaml", "--json", code=1).stdout)
    assert [c["field"] for c in told] == ["lookahead_chars"]
    (tmp_path / "c.yaml").write_text("name: c")
    assert "line" in command("policy", "diff", tmp_path / "a.yaml", tmp_path / "c.yaml", code=1).stderr
