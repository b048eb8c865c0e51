"""A policy file: what holds for everybody, laid over by tenant, by key and by the hour. Pure but for `load`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from pydantic import Field, ValidationError, model_validator

from guards.document import DocumentError, Fault, Place, faults_of, listed, read
from guards.policy.rules import DEFAULT_POLICY, Coverage, Policy, PolicyError, short_lookahead, uncovered_cells
from guards.policy.schedule import Overlay, Schedule

MOST_RESOLVED: Final = 5_000  # combinations of tenant, key and schedule, each a policy that is checked
OVERLAID: Final = ("tenants", "keys", "schedules")
BARE: Final = {
    "name": "bare",
    "version": 1,
    "guards": ["none"],
    "input": {"harm": {}},
}  # to check overlays on


class PolicyFile(Policy):
    """What holds for everybody, and what differs. Without differences its digest is that of the policy."""

    tenants: dict[str, Overlay] = Field({}, description="tenant: fields that differ for its keys")
    keys: dict[str, Overlay] = Field({}, description="key id: fields that differ for this key, laid over its tenant's")
    schedules: tuple[Schedule, ...] = Field(
        (), description="fields that differ at some hours, laid over all others; the first that applies counts"
    )

    @model_validator(mode="after")
    def _own_names(self) -> "PolicyFile":
        names = [s.name for s in self.schedules]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"schedules: {', '.join(twice)}: there are two of that name")
        return self

    def _content(self) -> dict[str, Any]:
        content = super()._content()
        return {name: value for name, value in content.items() if value or name not in OVERLAID}


class Source(NamedTuple):
    """The overlays that a resolved policy is made of; None: the file has none for the caller, or none applies."""

    tenant: str | None = None
    key: str | None = None
    schedule: str | None = None

    def __str__(self) -> str:
        return ", ".join(f"{kind} {name}" for kind, name in self._asdict().items() if name is not None) or "everybody"


@dataclass(frozen=True, slots=True)
class Policies:
    """A policy file with every policy in it. Same content, same `digest`. `text`: the file as it was read."""

    file: PolicyFile
    resolved: Mapping[Source, Policy]
    text: str

    @classmethod
    def only(cls, policy: Policy) -> "Policies":
        """One policy for everybody, from no file."""
        file = PolicyFile.model_validate(policy.model_dump(by_alias=True))
        return cls(file, {Source(): policy}, file.model_dump_json(by_alias=True))  # JSON is YAML

    @property
    def digest(self) -> str:
        return self.file.digest

    @property
    def base(self) -> Policy:
        """What holds for whom nothing differs."""
        return self.resolved[Source()]

    def source(self, tenant: str, key_id: str, at: datetime) -> Source:
        """Which overlays apply to a caller at a moment, which has a time zone."""
        return Source(
            tenant if tenant in self.file.tenants else None,
            key_id if key_id in self.file.keys else None,
            next((s.name for s in self.file.schedules if s.applies(tenant, at)), None),
        )

    def of(self, tenant: str, key_id: str, at: datetime) -> Policy:
        """The policy for a caller at a moment."""
        return self.resolved[self.source(tenant, key_id, at)]

    def faults(self, coverage: Coverage, reach_chars: Mapping[str, int] = MappingProxyType({})) -> list[str]:
        """What the policies name and no guard at hand judges, each fault once; empty when the file can be used.

        `reach_chars`: guard -> what a stream must hold back for it.
        """
        found: dict[str, Source] = {}
        for source, policy in self.resolved.items():
            for fault in (*uncovered_cells(policy, coverage), *short_lookahead(policy, coverage, reach_chars)):
                found.setdefault(fault, source)
        return [f"{fault} ({source})" if any(source) else fault for fault, source in found.items()]


def parse_file(text: str, origin: str = "policy") -> Policies:
    """All policies of a file from YAML text.

    Raises:
        PolicyError: not YAML, a key is there twice, or in any policy a field is wrong, unknown or missing.
    """
    try:
        content, lines, faults = read(text, origin)
    except DocumentError as error:
        raise PolicyError(str(error)) from error
    file = None
    try:
        file = PolicyFile.model_validate(content)
    except ValidationError as error:
        faults += faults_of(error, lines, top="policy")
    resolved, wrong = _resolved(content if isinstance(content, dict) else {}, lines, usable=file is not None)
    faults += wrong
    if file is None or faults:
        raise PolicyError(listed(sorted(set(faults)), origin))
    return Policies(file, resolved, text)


def load_file(path: Path = DEFAULT_POLICY) -> Policies:
    """All policies of a file. Raises PolicyError, also when it cannot be read."""
    try:
        return parse_file(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def parse(text: str, origin: str = "policy") -> Policy:
    """What a file says for everybody, after all of it was checked. Raises PolicyError."""
    return parse_file(text, origin).base


def load(path: Path = DEFAULT_POLICY) -> Policy:
    """What a file says for everybody, after all of it was checked. Raises PolicyError."""
    return load_file(path).base


def schema() -> dict[str, Any]:
    """The JSON schema of a policy file. An overlay has the fields of a policy, all of them optional."""
    found = PolicyFile.model_json_schema()
    fields = {name: field for name, field in found["properties"].items() if name not in OVERLAID}
    found["$defs"]["Overlay"] = {"type": "object", "additionalProperties": False, "properties": fields}
    overlay = {"$ref": "#/$defs/Overlay"}
    found["properties"]["tenants"]["additionalProperties"] = overlay
    found["properties"]["keys"]["additionalProperties"] = overlay
    found["$defs"]["Schedule"]["properties"]["then"] = overlay
    return found


@dataclass(frozen=True, slots=True)
class _Layer:
    kind: str  # a field of Source
    name: str
    place: Place
    fields: Overlay


def _resolved(
    content: Mapping[str, Any], lines: Mapping[Place, int], usable: bool
) -> tuple[dict[Source, Policy], list[Fault]]:
    """Every policy of a file, and what is wrong with those that are none.

    Where what holds for everybody is not `usable`, overlays are checked all the same, field by field.
    """
    base = {name: value for name, value in content.items() if name not in OVERLAID} if usable else BARE
    resolved: dict[Source, Policy] = {}
    faults: list[Fault] = []
    broken: set[Place] = set()
    for layers in _combinations(content, together=usable):
        if broken & {layer.place for layer in layers}:
            continue
        if len(resolved) == MOST_RESOLVED:
            faults.append((1, "policy", f"has more than {MOST_RESOLVED} combinations of tenant, key and schedule"))
            break
        try:
            policy = Policy.model_validate(reduce(_merged, (layer.fields for layer in layers), base))
            resolved[Source(**{layer.kind: layer.name for layer in layers})] = policy
        except ValidationError as error:
            broken.update(layer.place for layer in layers[-1:])
            faults += _faults(error, lines, layers, whole=usable)
    return resolved, faults


def _combinations(content: Mapping[str, Any], together: bool) -> list[tuple[_Layer, ...]]:
    """Overlays that may meet, fewest first, each in the order in which they are laid on."""
    tenants, keys = (
        [_Layer(kind, name, (field, name), overlay) for name, overlay in _overlays(content.get(field))]
        for kind, field in (("tenant", "tenants"), ("key", "keys"))
    )
    written = content.get("schedules")
    schedules = [
        _Layer("schedule", str(s.get("name")), ("schedules", str(nth), "then"), s["then"])
        for nth, s in enumerate(written if isinstance(written, list) else ())
        if isinstance(s, dict) and isinstance(s.get("then"), dict)
    ]
    met = (tuple(filter(None, some)) for some in product((None, *tenants), (None, *keys), (None, *schedules)))
    return sorted((m for m in met if together or len(m) == 1), key=len)


def _overlays(value: object) -> Iterator[tuple[str, Overlay]]:
    if isinstance(value, dict):
        yield from ((str(name), overlay) for name, overlay in value.items() if isinstance(overlay, dict))


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `under`: mappings are merged, anything else is replaced."""
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _faults(
    error: ValidationError, lines: Mapping[Place, int], layers: Sequence[_Layer], whole: bool
) -> Iterator[Fault]:
    """Faults of a resolved policy, at their place in the overlay laid on last; those of no field only of a `whole`."""
    if not layers:  # the policy for everybody, whose faults are known
        return
    place = layers[-1].place
    inner = {other[len(place) :]: line for other, line in lines.items() if other[: len(place)] == place}
    beside = f" (with {', '.join(f'{o.kind} {o.name}' for o in layers[:-1])})" if len(layers) > 1 else ""
    for line, name, why in faults_of(error, inner, top=""):
        if name or whole:
            yield line, ".".join((*place, name) if name else place), why + beside
