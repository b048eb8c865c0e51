"""Policy files: what is laid over what, at which hours, how faults are placed, and that nothing half right is used."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from guards.policy import DEFAULT_POLICY, PolicyError, Schedule, Source, load, load_file, parse, parse_file, schema

BASE = """\
name: house
version: 3
guards: [patterns]
store: flagged
input:
  card: {threshold: 0.5, action: flag}
  email: {action: flag}
"""
FILE = (
    BASE
    + """\
tenants:
  acme:
    store: none
    input: {card: {action: refuse}}
  shop:
    store: sampled
    sample_share: 0.1
keys:
  key_9:
    input: {card: {threshold: 0.9}}
schedules:
  - name: night
    days: [fri, sat]
    from: 22:00
    to: "06:00"
    timezone: Europe/Berlin
    then: {input: {email: {action: refuse}}}
  - name: weekend
    days: [sat, sun]
    tenants: [shop]
    then: {streaming: full}
"""
)
NOON = datetime(2026, 11, 18, 12, tzinfo=UTC)  # a Wednesday


def berlin(day: int, hour: int, minute: int = 0) -> datetime:
    """A time in November 2026; the 20th is a Friday."""
    return datetime(2026, 11, day, hour, minute, tzinfo=ZoneInfo("Europe/Berlin"))


def test_each_caller_has_the_policy_laid_over_by_tenant_then_key():
    """Mappings are merged to the depth of a rule's fields, anything else is replaced; the later overlay wins."""
    policies = parse_file(FILE)
    nobody, acme, both = (
        policies.of(t, k, NOON) for t, k in (("other", "key_1"), ("acme", "key_1"), ("acme", "key_9"))
    )
    assert nobody == policies.base == parse(BASE)
    assert (acme.store, acme.input["card"].action, acme.input["card"].threshold) == ("none", "refuse", 0.5)
    assert (both.store, both.input["card"].action, both.input["card"].threshold) == ("none", "refuse", 0.9)
    assert policies.of("other", "key_9", NOON).input["card"].action == "flag"
    assert acme.input["email"].action == "flag"
    assert policies.source("acme", "key_9", NOON) == Source("acme", "key_9", None)


def test_each_tenant_says_what_is_stored():
    """`store` and its share are fields like others: each tenant may have its own."""
    policies = parse_file(FILE)
    stored = {
        t: (policies.of(t, "k", NOON).store, policies.of(t, "k", NOON).sample_share) for t in ("acme", "shop", "x")
    }
    assert stored == {"acme": ("none", 0.0), "shop": ("sampled", 0.1), "x": ("flagged", 0.0)}


def test_every_policy_has_its_own_digest_and_the_file_one():
    """Resolved policies that differ have different digests; a file without overlays has the digest of its policy."""
    policies = parse_file(FILE)
    assert len({p.digest for p in policies.resolved.values()}) == len({repr(p) for p in policies.resolved.values()})
    assert len(policies.resolved) == 3 * 2 * 3
    assert policies.digest not in {p.digest for p in policies.resolved.values()}
    assert parse_file(BASE).digest == parse(BASE).digest
    assert parse_file(FILE.replace("06:00", "06:01")).digest != policies.digest
    assert parse_file(FILE.replace("22:00", "'22:00'")).digest == policies.digest


@pytest.mark.parametrize(
    ("at", "applies"),
    [
        (berlin(20, 21, 59), False),
        (berlin(20, 22, 0), True),
        (berlin(21, 5, 59), True),  # Saturday morning belongs to Friday's night
        (berlin(21, 6, 0), False),
        (berlin(22, 5, 59), True),
        (berlin(22, 22, 0), False),  # Sunday night is none
        (berlin(23, 5, 0), False),
        (berlin(20, 5, 0), False),  # Friday morning belongs to Thursday's night, which is none
        (berlin(20, 22, 30).astimezone(UTC), True),
    ],
)
def test_a_schedule_may_end_after_midnight(at, applies):
    """Days name when it begins; the wall clock is that of its time zone, whatever zone the moment is in."""
    assert (parse_file(FILE).of("x", "k", at).input["email"].action == "refuse") is applies


def test_the_first_schedule_that_applies_counts():
    """Of schedules that overlap the first in the file is laid on, alone; one for a tenant is nobody else's."""
    policies = parse_file(FILE)
    night, day = berlin(21, 23), berlin(21, 12)
    assert policies.source("shop", "k", night).schedule == "night"
    assert policies.of("shop", "k", night).streaming == "hold"
    assert policies.of("shop", "k", day).streaming == "full"
    assert policies.source("acme", "k", day).schedule is None
    assert policies.of("acme", "key_9", night).input["email"].action == "refuse"


def test_a_schedule_follows_the_clocks_of_its_zone():
    """When the clocks change, 22:00 is 22:00 on the wall."""
    schedule = Schedule.model_validate(
        {"name": "n", "from": "22:00", "to": "23:00", "timezone": "Europe/Berlin", "then": {"a": 1}}
    )
    summer, winter = datetime(2026, 10, 24, 20, 30, tzinfo=UTC), datetime(2026, 10, 25, 21, 30, tzinfo=UTC)
    assert schedule.applies("x", summer)
    assert schedule.applies("x", winter)
    assert not schedule.applies("x", winter - timedelta(hours=1))


@given(st.integers(0, 1439), st.integers(0, 1440), st.integers(0, 10_079))
def test_within_its_hours_and_outside(begins, ends, minute):
    """On all days, a schedule applies exactly from its beginning to its end, at any minute of a week."""
    if begins % 1440 == ends % 1440:
        return
    schedule = Schedule.model_validate({"name": "n", "from": begins, "to": ends, "then": {"a": 1}})
    at, clock = datetime(2026, 11, 16, tzinfo=UTC) + timedelta(minutes=minute), minute % 1440
    inside = begins <= clock < ends if begins < ends else clock >= begins or clock < ends
    assert schedule.applies("x", at) is inside


FAULTS = [
    (BASE + "tenants: {acme: {outptu: {}}}\n", "line 8: tenants.acme.outptu: there is no such field"),
    (
        BASE + "tenants:\n  acme:\n    input:\n      card:\n        threshold: 2\n",
        "line 12: tenants.acme.input.card.threshold:",
    ),
    (
        BASE + "tenants:\n  acme:\n    input: {jokes: {}}\n",
        "line 9: tenants.acme: Value error, unknown categories ['jokes']",
    ),
    (BASE + "tenants: {acme: 5}\n", "line 8: tenants.acme: should be fields"),
    (BASE + "tenants: {acme: {tenants: {}}}\n", "line 8: tenants.acme.tenants: there is no such field"),
    (BASE + "tenants:\n  acme: {}\n  acme: {}\n", "line 10: tenants.acme: is there already, in line 9"),
    (BASE + "keys: {k: {store: all}}\n", "line 8: keys.k.store:"),
    (BASE + "schedules:\n- {name: n, then: {store: all}}\n", "line 9: schedules.0.then.store:"),
    (BASE + "schedules:\n- name: n\n  from: 25:00\n  then: {store: none}\n", "line 10: schedules.0.from:"),
    (BASE + "schedules:\n- {name: n, from: noon, then: {store: none}}\n", "should be a time such as 08:30"),
    (BASE + "schedules:\n- {name: n, from: 9:00, to: 9:00, then: {store: none}}\n", "are the same time"),
    (BASE + "schedules:\n- {name: n, timezone: Mars/Base, then: {store: none}}\n", "there is no such time zone"),
    (BASE + "schedules:\n- {name: n, timezone: ../../etc/passwd, then: {store: none}}\n", "there is no such time zone"),
    (BASE + "schedules:\n- {name: n, days: [monday], then: {store: none}}\n", "line 9: schedules.0.days"),
    (BASE + "schedules:\n- {name: n, days: [], then: {store: none}}\n", "line 9: schedules.0.days"),
    (BASE + "schedules:\n- {name: n}\n", "line 9: schedules.0.then: is missing"),
    (BASE + "schedules:\n- {name: n, then: {store: none}}\n- {name: n, then: {store: none}}\n", "two of that name"),
    (BASE + "categories: {harm: {description: mine}}\n", "built in already"),
    (BASE + "categories: {Bad-Name: {description: mine}}\n", "line 8: categories.Bad-Name"),
    (BASE + "uncovered: {language: escalate}\n", "needs `escalate`"),
    (BASE + "uncovered: {language: allow}\n", "line 8: uncovered.language:"),
    (BASE + "uncovered: {accepted_languages: [German]}\n", "line 8: uncovered.accepted_languages"),
    (BASE + "escalate: patterns\n", "judges everything already"),
]


@pytest.mark.parametrize(("text", "fault"), FAULTS, ids=range(len(FAULTS)))
def test_faults_of_overlays_are_named_with_their_place(text, fault):
    """What is wrong in an overlay is refused with its line and its place in the file, once."""
    with pytest.raises(PolicyError) as refused:
        parse_file(text, "my.yaml")
    assert fault in str(refused.value)
    lines = str(refused.value).splitlines()
    assert len(lines) == len(set(lines))


def test_faults_of_overlays_are_found_beside_those_of_the_base():
    """A file whose base is wrong tells of its overlays too, at once."""
    with pytest.raises(PolicyError) as refused:
        parse_file(FILE.replace("version: 3", "version: 0").replace("action: refuse", "action: explode"))
    faults = str(refused.value)
    assert re.findall(r"line (\d+)", faults) == ["2", "11", "24"]


def test_overlays_that_only_together_are_wrong_are_found():
    """A key that sets a share for a tenant that stores none is a fault of the two, though each alone is right."""
    text = BASE + "tenants: {a: {store: sampled, sample_share: 0.5}, b: {first_segment_chars: 100}}\n"
    with pytest.raises(PolicyError, match=r"line 9: keys\.k.*more than most_segment_chars.*\(with tenant b\)"):
        parse_file(text + "keys: {k: {most_segment_chars: 90}}\n")
    with pytest.raises(PolicyError, match=r"line 9: keys\.k.*need each other"):
        parse_file(text + "keys: {k: {sample_share: 0.1}}\n")


def test_so_many_combinations_are_refused():
    """A file that makes more policies than can be checked in time is refused, and says so."""
    tenants = "".join(f"  t{n}: {{version: {n + 1}}}\n" for n in range(80))
    keys = "".join(f"  k{n}: {{version: {n + 1}}}\n" for n in range(80))
    with pytest.raises(PolicyError, match="more than 5000 combinations"):
        parse_file(f"{BASE}tenants:\n{tenants}keys:\n{keys}")


def test_nobody_judges_what_only_an_overlay_names():
    """A category that only a tenant's overlay names is held against the guards too, and the tenant is named."""
    policies = parse_file(BASE + "tenants: {acme: {output: {harm: {}}}}\nkeys: {k: {guards: [other]}}\n")
    coverage = {"patterns": {"input": frozenset({"card", "email"}), "output": frozenset({"card"})}}
    faults = policies.faults(coverage)
    assert "output.harm: no guard of this policy judges it (tenant acme)" in faults
    assert any("'other' is not loaded" in f and f.endswith("(key k)") for f in faults)
    assert parse_file(BASE).faults(coverage) == []


def test_the_guard_to_escalate_to_must_be_there_and_judge():
    """`escalate` names a loaded guard that judges something this policy has a rule for, at each stage with rules."""
    policies = parse_file(BASE + "escalate: strong\nuncovered: {language: escalate}\n")
    patterns = {"input": frozenset({"card", "email"}), "output": frozenset()}
    assert any("'strong' is not loaded" in f for f in policies.faults({"patterns": patterns}))
    idle = {"patterns": patterns, "strong": {"input": frozenset({"harm"}), "output": frozenset()}}
    assert policies.faults(idle) == ["escalate: 'strong' judges no category that has a rule for input"]
    assert policies.faults(idle | {"strong": patterns}) == []


def test_own_categories_have_rules_like_others():
    """A category declared in the file may have rules, in overlays too; undeclared it is unknown."""
    own = (
        "categories: {gossip: {description: talk about colleagues}}\ntenants: {a: {input: {gossip: {action: flag}}}}\n"
    )
    assert parse_file(BASE + own).of("a", "k", NOON).input["gossip"].action == "flag"
    with pytest.raises(PolicyError, match="unknown categories"):
        parse_file(BASE + own.partition("\n")[2])


def test_the_schema_covers_the_whole_file():
    """The JSON schema takes every file that ships and the overlays above, and refuses unknown fields in any of them."""
    validator = jsonschema.Draft202012Validator(schema())
    validator.check_schema(schema())
    for path in sorted(DEFAULT_POLICY.parent.glob("*.yaml")):
        validator.validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    validator.validate(yaml.safe_load(FILE.replace("22:00", '"22:00"')))
    for wrong in (
        "tenants: {a: {foo: 1}}",
        "keys: {k: {input: {card: {foo: 1}}}}",
        "schedules: [{name: n, then: {foo: 1}}]",
    ):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(yaml.safe_load(BASE + wrong))


def test_a_file_is_loaded_with_all_its_policies(tmp_path):
    """`load` gives what holds for everybody, `load_file` all of it; both check the whole file."""
    path = tmp_path / "p.yaml"
    path.write_text(FILE)
    assert load(path) == load_file(path).base
    path.write_text(FILE.replace("action: refuse", "action: explode"))
    for reading in (load, load_file):
        with pytest.raises(PolicyError, match=r"tenants\.acme"):
            reading(path)
