"""Markdown from data: tables, and the fields of a JSON schema."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

Json = dict[str, Any]
WIDEST: Final = 2**31 - 1  # bounds beyond are those of machines


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; cells may hold Markdown but no line breaks."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(fold(str(cell)).replace("|", "\\|") for cell in line) + " |" for line in lines)


def fold(text: str) -> str:
    """A text as one line."""
    return " ".join(text.split())


def fields(properties: Mapping[str, Json], defs: Json, required: Collection[str] = ()) -> str:
    """A row for each property of a JSON schema: what it may be, its default, what it is for."""
    rows = [
        (f"`{name}`", values(field, defs), _default(field, name in required), field.get("description", ""))
        for name, field in properties.items()
    ]
    head = ["field", "values", "default", "what"]
    used = [i for i in range(len(head)) if i < 2 or any(row[i] for row in rows)]
    return table([head[i] for i in used], [[row[i] for i in used] for row in rows])


def _default(field: Json, required: bool) -> str:
    if required:
        return "required"
    default = field.get("default")
    return "" if default in (None, "", {}, []) else f"`{json.dumps(default, ensure_ascii=False).strip(chr(34))}`"


def values(schema: Json, defs: Json) -> str:
    """What a value may be, in a few words."""
    if name := schema.get("$ref", "").rpartition("/")[2]:
        found = defs.get(name, {})
        return values(found, defs) if "properties" not in found else f"{name} (an object)"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            found = [values(one, defs) for one in schema[several] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(found))
    return _typed(schema, defs)


def _typed(schema: Json, defs: Json) -> str:
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"a list of {values(schema.get('items', {}), defs)}{_bounds(schema)}"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"name: {values(inner, defs)}" if isinstance(inner, dict) else "an object"
    named = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    form = {"password": "secret text", "path": "path"}.get(schema.get("format", ""), named.get(str(kind), str(kind)))
    return form + _bounds(schema)


def _bounds(schema: Json) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    said = {
        "from {}": low if low is not None else schema.get("minLength", schema.get("minItems")),
        "above {}": schema.get("exclusiveMinimum"),
        "to {}": high if high is not None else schema.get("maxLength", schema.get("maxItems")),
        "below {}": schema.get("exclusiveMaximum"),
    }
    given = [form.format(f"{bound:,}") for form, bound in said.items() if bound is not None and abs(bound) < WIDEST]
    unit = " characters" if "maxLength" in schema or "minLength" in schema else ""
    return f" ({' '.join(given)}{unit})" if given else ""
