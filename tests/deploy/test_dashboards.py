"""Dashboards and alerts speak only of metrics that there are."""

import json
import re
import subprocess

import pytest
import yaml

from helm.dashboards import generate
from tests.deploy.chart import (
    CHART,
    METRIC,
    ROOT,
    RULES,
    dashboards,
    filled,
    metrics_of_drift,
    metrics_of_the_service,
    queries,
    rendered,
    tool,
)

VLLM = ROOT / ".venv-engine/lib"


def test_dashboards_are_what_the_script_writes():
    """The checked-in files are those that `python -m helm.dashboards.generate` writes."""
    assert {f"{name}.json" for name in dashboards()} == set(generate.texts())
    for name, text in generate.texts().items():
        assert (CHART / "dashboards" / name).read_text() == text, f"{name}: run python -m helm.dashboards.generate"


def asked():
    """(where, metric) of all that panels and alerts ask for."""
    for where, query in (*queries(), *((rule["alert"], rule["expr"]) for rule in RULES)):
        yield from ((where, name) for name in METRIC.findall(query))


def test_every_metric_exists():
    """No panel and no alert asks for a metric that neither the service nor `sluicegate-train drift` has."""
    known = metrics_of_the_service() | metrics_of_drift()
    used = {(where, name) for where, name in asked() if name.startswith("sluicegate_")}
    assert used
    assert {(where, name) for where, name in used if name not in known} == set()


def test_every_metric_of_vllm_exists():
    """Panels and alerts of the engine name metrics that the installed vLLM has."""
    sources = list(VLLM.glob("python3*/site-packages/vllm/v1/metrics/*.py"))
    if not sources:
        pytest.skip("vLLM is not here. Run: sluicegate engine install")
    known = set(re.findall(r'"(vllm:[a-z_]+)"', "".join(path.read_text() for path in sources)))
    used = {name for _, name in asked() if name.startswith("vllm:")}
    assert used
    assert {name for name in used if re.sub(r"_(total|bucket|sum|count)$", "", name) not in known} == set()


def test_every_metric_of_the_service_is_on_a_dashboard():
    """What is measured is shown somewhere."""
    shown = " ".join(query for _, query in queries())
    families = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in metrics_of_the_service()}
    assert {name for name in families if name not in shown} == set()


def test_panels_do_not_overlap():
    """Each panel has its own place on a grid of 24 columns."""
    for name, dashboard in dashboards().items():
        taken = set()
        for panel in dashboard["panels"]:
            at = panel["gridPos"]
            assert at["x"] + at["w"] <= 24
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert not cells & taken, f"{name}: {panel['title']}"
            taken |= cells


def test_every_query_is_promql(tmp_path):
    """Prometheus' own parser takes every query of every panel."""
    rules = [{"record": f"panel:{number}", "expr": filled(query)} for number, (_, query) in enumerate(queries())]
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run([tool("promtool"), "check", "rules", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_speak_and_keep_quiet():
    """promtool runs tests/deploy/alerts.yaml: when each alert fires, and when it does not."""
    done = subprocess.run(
        [tool("promtool"), "test", "rules", "tests/deploy/alerts.yaml"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_has_its_page_and_its_test(rule):
    """An alert is a page or a ticket, is explained by a runbook that names it, and is seen firing and quiet."""
    assert rule["labels"]["severity"] in ("page", "ticket")
    page = (ROOT / rule["annotations"]["runbook"]).read_text()
    assert f"({rule['alert']}, {rule['labels']['severity']})" in page
    tests = yaml.safe_load((ROOT / "tests/deploy/alerts.yaml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"] if case["alertname"] == rule["alert"]]
    assert any(case["exp_alerts"] for case in cases)
    assert any(not case["exp_alerts"] for case in cases)


def test_runbooks_are_of_alerts():
    """No runbook is left of an alert that is gone."""
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs/runbooks").glob("*.md")}
    assert pages == {rule["annotations"]["runbook"] for rule in RULES}


def test_the_chart_carries_rules_and_dashboards():
    """The chart's PrometheusRule holds every alert as tested, but those left out, and whole dashboards."""
    documents = rendered("one-gpu", "--set", "monitoring.prometheusRule.disabled={SluicegateNothingBlocked}")
    (rule,) = (d for d in documents if d["kind"] == "PrometheusRule")
    assert rule["spec"]["groups"][0]["rules"] == [r for r in RULES if r["alert"] != "SluicegateNothingBlocked"]
    maps = {k: v for d in documents if d["kind"] == "ConfigMap" for k, v in d["data"].items()}
    assert {name: json.loads(text) for name, text in maps.items()} == {
        f"sluicegate-{name}.json": dashboard for name, dashboard in dashboards().items()
    }
