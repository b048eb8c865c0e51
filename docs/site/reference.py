"""The reference pages of the site, from the code they are about: nothing of them is written by hand, or kept.

Each function gives a page of Markdown. What it is about is explained in docs/, by hand, and held to the code by tests.
"""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final, cast

import yaml

from docs.site.help import sluicegate, sluicegate_train
from docs.site.markdown import fields, fold, table

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "helm/sluicegate/rules/alerts.yaml"
PART: Final = re.compile(r"_(bucket|sum|count)$")
Json = dict[str, Any]


def settings() -> str:
    """Every SLUICEGATE_ variable: what it may be and what it is by default."""
    from service.settings import Settings

    schema = Settings.model_json_schema()
    for name, field in schema["properties"].items():
        default = Settings.model_fields[name].default
        if isinstance(default, Path) and default.is_absolute():
            field["default"] = default.relative_to(ROOT).as_posix()
    named = {f"SLUICEGATE_{name.upper()}": field for name, field in schema["properties"].items()}
    return f"""# Settings: all of them

What each means, with links: [Settings](../settings.md). Values are read once, at start, from the environment.

{fields(named, schema.get("$defs", {}))}
"""


def metrics() -> str:
    """Every metric: its labels, and which dashboards and alerts use it."""
    from prometheus_client import Counter

    from helm.dashboards.panels import DASHBOARDS
    from service.telemetry.metrics import Metrics

    shown = {d.name: " ".join(q for panel in d.panels for q in panel.queries.values()) for d in DASHBOARDS}
    alarmed = {f"[{rule['alert']}](alerts.md#{rule['alert'].lower()})": str(rule["expr"]) for rule in _rules()}
    rows = []
    for metric in vars(Metrics()).values():
        if hasattr(metric, "_labelnames"):
            name = metric._name + ("_total" if isinstance(metric, Counter) else "")
            kind = ": ".join(filter(None, (metric._type, ", ".join(metric._labelnames))))
            used = ", ".join(filter(None, (_using(name, shown), _using(name, alarmed))))
            rows.append((f"`{name}`", kind, metric._documentation, used))
    return f"""# Metrics: all of them

What they mean and which values the labels have: [Metrics](../metrics.md). Here: where each is used.

{table(("metric", "kind and labels", "what", "dashboards and alerts"), sorted(rows))}
"""


def _using(metric: str, texts: Mapping[str, str]) -> str:
    """The names of those texts that hold the metric, as a whole or in part."""
    return ", ".join(
        name
        for name, text in texts.items()
        if metric in {PART.sub("", w) for w in re.findall(r"\bsluicegate_\w+", text)}
    )


def alerts() -> str:
    """Every alert: when it fires, and its runbook."""
    sections = [_alert(rule) for rule in _rules()]
    return f"""# Alerts: all of them

`helm/sluicegate/rules/alerts.yaml`; [how they get into Prometheus](../deploy.md#monitoring).
*page* is somebody's phone, *ticket* the next morning.

{"".join(sections)}"""


def _rules() -> list[Json]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "alert" in rule]


def _alert(rule: Json) -> str:
    notes, runbook = rule["annotations"], Path(rule["annotations"]["runbook"])
    return f"""## {rule["alert"]}

{notes["summary"]}. {notes["description"]}

**{rule["labels"]["severity"]}**, after {rule.get("for", "0m")} · [runbook](../runbooks/{runbook.name})

```promql
{rule["expr"]}
```

"""


def policy() -> str:
    """Every field of a policy file, from its JSON schema."""
    from guards.policy.file import schema

    found = schema()
    parts = {name: part for name, part in found["$defs"].items() if "properties" in part and name != "Overlay"}
    sections = [
        f"## {name}\n\n{fold(part.get('description', ''))}\n\n{fields(part['properties'], found['$defs'])}\n"
        for name, part in sorted(parts.items())
    ]
    return f"""# Policy file: all fields

What a policy does with them: [Policy](../policy.md). For an editor: `sluicegate policy schema`.

## The file

{fields(found["properties"], found["$defs"])}

{chr(10).join(sections)}"""


def api() -> str:
    """Every route with its roles, fields, examples and answers, from the OpenAPI document."""
    document = openapi()
    told = [(path, verb, o) for path, verbs in document["paths"].items() for verb, o in verbs.items()]
    sections: list[str] = []
    for tag, operations in groupby(told, key=lambda found: (found[2].get("tags") or ["service"])[0]):
        sections.append(f"## {tag.capitalize()}\n\n")
        sections += [_operation(*operation, document["components"]["schemas"]) for operation in operations]
    return f"""# API: all routes

How it behaves: [API](../api.md). The same as a document: [openapi.json](openapi.json), or `GET /openapi.json`.

{"".join(sections)}"""


def openapi() -> Json:
    """The document of the API. It is made of routes alone, so nothing behind them is needed."""
    from service.api import create_api
    from service.api.deps import Api
    from service.api.openapi import describe
    from service.settings import Settings
    from service.telemetry.metrics import Metrics

    nothing = cast(Any, None)
    return describe(create_api(Api(nothing, nothing, Settings(), Metrics(), nothing, nothing)))


def _operation(path: str, verb: str, operation: Json, schemas: Json) -> str:
    parts = [f"### {verb.upper()} {path}\n", f"{operation['summary']}. For: {_roles(path)}.\n"]
    if asked := operation.get("parameters"):
        parts.append(
            fields({p["name"]: p["schema"] | {"description": f"in the {p['in']}"} for p in asked}, schemas) + "\n"
        )
    if content := operation.get("requestBody", {}).get("content", {}).get("application/json"):
        parts += _body(content, schemas)
    codes = [(f"`{code}`", answer.get("description", "")) for code, answer in operation["responses"].items()]
    return "\n".join([*parts, table(("answer", "when"), codes), "", ""])


def _roles(path: str) -> str:
    from service.api.auth import ACCESS, ANYBODY

    by_path = {known.replace(":path}", "}"): roles for known, roles in ACCESS.items()}
    roles = by_path[path]
    return "anybody" if roles is ANYBODY or roles is None else ", ".join(sorted(map(str, roles)))


def _body(content: Json, schemas: Json) -> Iterator[str]:
    schema = content["schema"]
    if name := schema.get("$ref", "").rpartition("/")[2]:
        schema = schemas[name]
    yield fields(schema.get("properties", {}), schemas, schema.get("required", ())) + "\n"
    for title, example in content.get("examples", {}).items():
        yield f"For example, {title}:\n\n```json\n{json.dumps(example['value'], indent=2, ensure_ascii=False)}\n```\n"


def commands() -> str:
    """Every verb of both commands with its options."""
    return f"""# Commands: all options

What there is, in a line each: [Commands](../commands.md).

## sluicegate

{sluicegate()}

## sluicegate-train

In the engine's environment: `.venv-engine/bin/sluicegate-train`; what trains the LLM needs `make train-env`.

{sluicegate_train()}
"""


PAGES: Final = {
    "settings": settings,
    "metrics": metrics,
    "alerts": alerts,
    "policy": policy,
    "api": api,
    "commands": commands,
}
