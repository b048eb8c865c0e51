"""Writes the Grafana dashboards of the chart, as they are checked in: `python -m helm.dashboards.generate`."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from helm.dashboards.panels import DASHBOARDS, Dashboard, Panel

OUT: Final = Path(__file__).parents[1] / "sluicegate" / "dashboards"
COLUMNS: Final = 24
SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
TAG: Final = "sluicegate"
Json = dict[str, Any]


def rendered(dashboard: Dashboard) -> Json:
    """The dashboard as Grafana's JSON model."""
    return {
        "uid": f"sluicegate-{dashboard.name}",
        "title": dashboard.title,
        "tags": [TAG],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_SOURCES, _NAMESPACES]},
        "links": [_LINKS],
        "panels": list(_placed(dashboard.panels)),
    }


def _placed(panels: Iterable[Panel]) -> Iterable[Json]:
    x = y = tallest = 0
    for number, panel in enumerate(panels, 1):
        height = 4 if panel.kind == "stat" else 8
        if x + panel.width > COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        yield _panel(number, panel, {"h": height, "w": panel.width, "x": x, "y": y})
        x, tallest = x + panel.width, max(tallest, height)


def _panel(number: int, panel: Panel, place: Json) -> Json:
    defaults: Json = {"unit": panel.unit}
    if panel.steps:
        defaults["thresholds"] = {"mode": "absolute", "steps": [{"color": c, "value": v} for c, v in panel.steps]}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.what,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            _target(chr(ord("A") + letter), panel.kind, legend, query)
            for letter, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def _target(ref: str, kind: str, legend: str, query: str) -> Json:
    target: Json = {"refId": ref, "datasource": SOURCE, "expr": query, "legendFormat": legend or "__auto"}
    if kind == "table":
        target |= {"format": "table", "instant": True}
    if kind == "heatmap":
        target |= {"format": "heatmap", "legendFormat": "{{le}}"}
    return target


_SOURCES: Final[Json] = {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
_NAMESPACES: Final[Json] = {
    "name": "namespace",
    "type": "query",
    "label": "Namespace",
    "datasource": SOURCE,
    "query": {"query": "label_values(sluicegate_engine_up, namespace)", "refId": "namespaces"},
    "includeAll": True,
    "allValue": ".*",
    "multi": True,
    "refresh": 2,
    "current": {"text": "All", "value": "$__all"},
}
_LINKS: Final[Json] = {
    "type": "dashboards",
    "title": "Sluicegate",
    "tags": [TAG],
    "asDropdown": True,
    "keepTime": True,
}


def texts() -> dict[str, str]:
    """File name -> text, of every dashboard."""
    return {f"{d.name}.json": json.dumps(rendered(d), indent=1, ensure_ascii=False) + "\n" for d in DASHBOARDS}


def main() -> None:
    OUT.mkdir(exist_ok=True)
    for name, text in texts().items():
        (OUT / name).write_text(text)
        sys.stdout.write(f"{OUT.name}/{name}\n")


if __name__ == "__main__":
    main()
