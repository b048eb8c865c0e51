"""A YAML file checked against a model: every fault with its line, nothing silently ignored. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

Place = tuple[str, ...]  # keys from the top of the file down
Fault = tuple[int, str, str]  # line, field, what is wrong
M = TypeVar("M", bound=BaseModel)

PLAIN: Final = {  # pydantic's word for a fault -> ours
    "extra_forbidden": "there is no such field",
    "missing": "is missing",
    "model_type": "should be fields with values, `name: value`",
    "dict_type": "should be fields with values, `name: value`",
    "union_tag_not_found": "`kind` is missing",
}


class Strict(BaseModel):
    """A part of a document: frozen, and a field that it does not know is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DocumentError(ValueError):
    """A file cannot be used. The message lists every fault with its place in the file."""


def read(text: str, origin: str) -> tuple[Any, dict[Place, int], list[Fault]]:
    """The content of YAML text, the line of every key, and the keys that are there twice.

    Raises:
        DocumentError: it is not YAML.
    """
    try:
        lines, twice = _places(yaml.compose(text, Loader=yaml.SafeLoader))
        return yaml.safe_load(text), lines, twice
    except (yaml.YAMLError, RecursionError) as error:
        raise DocumentError(f"{origin}: not valid YAML: {error}") from error


def validated(model: type[M], text: str, origin: str) -> M:
    """YAML text as a `model`.

    Raises:
        DocumentError: not YAML, a key is there twice, or a field is wrong, unknown or missing.
    """
    content, lines, faults = read(text, origin)
    try:
        document = model.model_validate(content)
    except ValidationError as error:
        faults += faults_of(error, lines, top=model.__name__.lower())
    if faults:
        raise DocumentError(listed(faults, origin))
    return document


def faults_of(error: ValidationError, lines: Mapping[Place, int], top: str = "file") -> Iterator[Fault]:
    """What pydantic found, with the line of the nearest key that is in the file."""
    for e in error.errors():
        where: Place = ()
        name: list[str] = []
        for part in map(str, e["loc"]):
            if (*where, part) in lines:
                where = (*where, part)
                name.append(part)
            elif part == str(e["loc"][-1]) and part != "[key]":  # missing; what else the file lacks is pydantic's tag
                name.append(part)
        yield lines.get(where, 1), ".".join(name) or top, PLAIN.get(e["type"], e["msg"])


def listed(faults: list[Fault], origin: str) -> str:
    return f"{origin}:" + "".join(f"\n  line {line}: {name}: {why}" for line, name, why in sorted(faults))


def _places(root: yaml.Node | None) -> tuple[dict[Place, int], list[Fault]]:
    """The line of every key, from 1, and the keys that are there twice: YAML would silently keep the last."""
    lines: dict[Place, int] = {}
    twice: list[Fault] = []
    seen: set[int] = set()
    nodes: list[tuple[Place, yaml.Node | None]] = [((), root)]
    while nodes:
        place, node = nodes.pop()
        if id(node) in seen:  # an alias: it may hold itself, or thousands of others
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += [((*place, str(nth)), item) for nth, item in enumerate(node.value)]
            lines |= {(*place, str(nth)): item.start_mark.line + 1 for nth, item in enumerate(node.value)}
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner, line = (*place, str(key.value)), key.start_mark.line + 1
                if inner in lines:
                    twice.append((line, ".".join(inner), f"is there already, in line {lines[inner]}"))
                lines.setdefault(inner, line)
                nodes.append((inner, value))
    return lines, twice
