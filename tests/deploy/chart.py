"""What the tests of the deployment share: tools, the rendered chart, the metrics that there are."""

import functools
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/sluicegate"
METRIC = re.compile(r"\b(?:sluicegate_[a-z_]+|vllm:[a-z_]+)")
EXAMPLES = sorted(path.stem for path in (CHART / "examples").glob("*.yaml"))


def tool(name, otherwise=""):
    """Where a tool is, on PATH or brought by helm/tools.sh; the test is skipped where it is not. `otherwise`: or so."""
    found = shutil.which(name, path=str(ROOT / "var/tools/bin")) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not here. Run: helm/tools.sh" + (f", or {otherwise}" if otherwise else ""))
    return found


def helm(*arguments, version="helm"):
    return subprocess.run([tool(version), *arguments], cwd=ROOT, capture_output=True, text=True)


@functools.cache
def rendered(example, *arguments, version="helm"):
    """The chart with an example's values, as objects."""
    values = CHART / "examples" / f"{example}.yaml"
    done = helm(
        "template", "sluicegate", str(CHART), "--namespace", "prod", "-f", str(values), *arguments, version=version
    )
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def pods(documents):
    """(name, pod template) of everything that runs."""
    for document in documents:
        spec, name = document.get("spec", {}), f"{document['kind']}/{document['metadata']['name']}"
        if document["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "template" in spec:
            yield name, spec["template"]
        if document["kind"] == "LeaderWorkerSet":
            yield name, spec["leaderWorkerTemplate"]["leaderTemplate"]
            yield f"{name}-worker", spec["leaderWorkerTemplate"]["workerTemplate"]


def metrics_of_the_service():
    """Every name that the service's exposition may have, suffixes of counters and histograms too."""
    from service.telemetry.metrics import Metrics

    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    return {m.name + s for m in Metrics().registry.collect() for s in suffixes.get(m.type, ("",))}


def metrics_of_drift():
    """Names in what `sluicegate-train drift` writes."""
    return set(re.findall(r'"(sluicegate_drift_\w+)"', (ROOT / "training/drift.py").read_text()))


RULES = yaml.safe_load((CHART / "rules/alerts.yaml").read_text())["groups"][0]["rules"]


def queries():
    """(dashboard: panel, PromQL) of every panel."""
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield f"{name}: {panel['title']}", target["expr"]


def filled(promql):
    """A panel's query as Grafana asks it, for all namespaces."""
    return promql.replace("$__rate_interval", "5m").replace("$namespace", ".*")


def dashboards():
    return {path.stem: json.loads(path.read_text()) for path in sorted((CHART / "dashboards").glob("*.json"))}
