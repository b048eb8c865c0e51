"""What differs in effect between two policies. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from guards.policy import SEVERITY, Policies, Policy, Rule, Source
from guards.verdict import Stage

STAGES: Final[Sequence[Stage]] = ("input", "output")
NAMES: Final = frozenset({"name", "version", "description", "input", "output"})  # change nothing, or are shown as rules
NONE: Final = "-"
EVERYBODY: Final = "everybody"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs, and for whom. `effect`: stricter or looser, where that can be said."""

    place: str
    field: str
    before: str
    after: str
    effect: str = ""
    whom: str = EVERYBODY


def differences(before: Policies, after: Policies) -> list[Change]:
    """What differs for everybody; then for each tenant, key and schedule what does not differ for everybody alike."""
    found = changes(before.base, after.base)
    shared = set(found)
    for source in sorted({*before.resolved, *after.resolved} - {Source()}, key=str):
        own = changes(_policy_of(before, source), _policy_of(after, source))
        found += [replace(c, whom=str(source)) for c in own if c not in shared]
    return found + list(_hours(before, after))


def _policy_of(policies: Policies, source: Source) -> Policy:
    """The policy where these overlays apply, as far as the file has them."""
    file = policies.file
    names = (file.tenants, file.keys, {s.name for s in file.schedules})
    known = (name if name in there else None for name, there in zip(source, names, strict=True))
    return policies.resolved[Source(*known)]


def _hours(before: Policies, after: Policies) -> Iterator[Change]:
    """When schedules apply, and in which order: the first that applies counts."""
    old, new = (
        {s.name: s.model_dump(mode="json", exclude={"then"}) | {"place": n} for n, s in enumerate(p.file.schedules)}
        for p in (before, after)
    )
    for name in sorted(old.keys() & new.keys()):
        for field in old[name]:
            if old[name][field] != new[name][field]:
                whom = f"schedule {name}"
                yield Change("schedule", field, _shown(old[name][field]), _shown(new[name][field]), whom=whom)


def changes(before: Policy, after: Policy) -> list[Change]:
    """Rules by stage and category, defaults filled in; then everything else that is not a name. Empty: the same."""
    found: list[Change] = []
    for stage in STAGES:
        old, new = before.rules(stage), after.rules(stage)
        for category in sorted({*old, *new}):
            rules = (_effective(old.get(category), before), _effective(new.get(category), after))
            found += _of_rule(f"{stage}.{category}", *rules)
    return found + list(_settings(before, after))


def _effective(rule: Rule | None, policy: Policy) -> dict[str, Any] | None:
    """None where the rule does nothing: there is none, or it allows."""
    if rule is None or rule.action == "allow":
        return None
    return rule.model_dump() | {"on_error": rule.on_error or policy.on_error}


def _of_rule(place: str, old: dict[str, Any] | None, new: dict[str, Any] | None) -> Iterator[Change]:
    if old is None and new is None:
        return
    if old is None or new is None:
        effect = "stricter" if old is None else "looser"
        yield Change(place, "rule", _rule(old), _rule(new), effect)
        return
    for name in old:
        if old[name] != new[name]:
            yield Change(place, name, _shown(old[name]), _shown(new[name]), _effect(name, old[name], new[name]))


def _rule(rule: dict[str, Any] | None) -> str:
    return f"{rule['action']} from {rule['threshold']:g} ({rule['mode']})" if rule else NONE


def _effect(name: str, old: Any, new: Any) -> str:
    if name == "threshold":
        return "stricter" if new < old else "looser"
    if name == "mode":
        return "stricter" if new == "enforce" else "looser"
    return "stricter" if SEVERITY[new] > SEVERITY[old] else "looser"


def _settings(before: Policy, after: Policy) -> Iterator[Change]:
    old, new = _flat(before.model_dump(mode="json")), _flat(after.model_dump(mode="json"))
    for place in sorted({*old, *new}):
        if place.partition(".")[0] not in NAMES and old.get(place) != new.get(place):
            yield Change("policy", place, _shown(old.get(place)), _shown(new.get(place)))


def _flat(value: Any, place: str = "") -> dict[str, Any]:
    """Nested mappings as dotted names."""
    if not isinstance(value, dict):
        return {place: value}
    return {
        k: v for name, inner in value.items() for k, v in _flat(inner, f"{place}.{name}" if place else name).items()
    }


def _shown(value: Any) -> str:
    if value is None or value == []:
        return NONE
    return (
        ", ".join(map(str, value))
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
