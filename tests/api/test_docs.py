"""The documents name every route, field, error code and metric, and nothing that is not there."""

import re
from pathlib import Path

import pytest
from prometheus_client import Counter

from service.api import errors, learning, review
from service.api.appeals import AppealRequest
from service.api.auth import ACCESS, ANYBODY
from service.api.embeddings import EmbeddingsRequest
from service.api.explain import ExplainRequest
from service.api.feedback import FeedbackRequest
from service.api.moderations import ModerationRequest
from service.api.response_schemas import ResponsesRequest
from service.api.schemas import ChatRequest, CompletionRequest
from service.gate import exchange
from service.telemetry.metrics import Metrics

DOCS = Path(__file__).parents[2] / "docs"
API = (DOCS / "api.md").read_text()
METRICS = (DOCS / "metrics.md").read_text()
MODELS = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": CompletionRequest,
    "/v1/responses": ResponsesRequest,
    "/v1/embeddings": EmbeddingsRequest,
    "/v1/moderations": ModerationRequest,
    "/v1/explain": ExplainRequest,
    "/v1/feedback": FeedbackRequest,
    "/v1/appeals": AppealRequest,
    "/v1/review/next": review.NextRequest,
    "/v1/review/items/{item}/reveal": review.RevealRequest,
    "/v1/review/decide": review.DecideRequest,
    "/v1/review/undo": review.UndoRequest,
    "/v1/review/skip": review.SkipRequest,
    "/v1/review/heartbeat": review.ClaimRequest,
    "/v1/review/release": review.ClaimRequest,
    "/v1/review/items": review.ItemsRequest,
    "/v1/learning/datasets": learning.DatasetRequest,
    "/v1/learning/runs": learning.RunRequest,
    "/v1/learning/models": learning.ModelRequest,
    "/v1/learning/models/{name}/{version}/stage": learning.StageRequest,
    "/v1/learning/models/{name}/rollback": learning.RollbackRequest,
}
SOURCES = "".join(p.read_text() for p in (DOCS.parent / "service" / "api").glob("*.py"))


def test_routes():
    """Every route is in the table with its roles, and has a section with a curl line."""
    table = dict(re.findall(r"^\| `[A-Z]+ (/\S+)` \| (.+) \|$", API, re.M))
    assert set(table) == {_path(p) for p in ACCESS}
    for path, roles in ACCESS.items():
        if roles is not ANYBODY and len(roles) < 4:
            assert set(table[_path(path)].split(", ")) == {str(r) for r in roles}
        section = API.partition(f" {_path(path)}\n\n")[2].split("\n\n")[0]
        assert f"$URL{_path(path).replace('{model}', 'smollm2-135m-instruct')}" in section


def _path(path):
    return path.replace("{model:path}", "{model}")


@pytest.mark.parametrize("path", MODELS)
def test_fields(path):
    """The tables list every field of the allow-list, whether it goes to the model, and no other field."""
    text, model = API.partition(f"## POST {path}\n")[2].partition("\n## ")[0], MODELS[path]
    rows = dict(re.findall(r"^\| `(\w+)` \| .*?(?:\| (yes|no) )?\|$", text, re.M))
    if model is CompletionRequest:
        rows |= dict.fromkeys(re.findall(r"`(\w+)`", text.partition("and as above: ")[2]))
    assert set(rows) == set(model.model_fields)
    for name, passed_on in rows.items():
        if passed_on and model is not ResponsesRequest:  # which is turned into another body
            assert (passed_on == "no") == bool(model.model_fields[name].exclude), name


def test_error_codes():
    """The table lists every code that the service can answer."""
    table = set(re.findall(r"^\| `(\w+)` \| [\d, ]+ \|", API, re.M))
    modules = (exchange, errors)
    kinds = [k for m in modules for k in vars(m).values() if isinstance(k, type) and issubclass(k, exchange.GateError)]
    known = {k.code for k in kinds} | set(re.findall(r'code="(\w+)"', SOURCES))
    written = {"model_not_found", "unsupported_modality", "permission_denied", "not_found", "method_not_allowed"}
    assert table == known | written | {"invalid_api_key"}
    assert all(f'"{code}"' in SOURCES for code in table if code not in {k.code for k in kinds})


def test_metrics():
    """The tables list every metric with its kind and labels, and no other."""
    rows = re.findall(r"^\| `(sluicegate_\w+)` \| (\w+) \| ([\w, ]*)\|", METRICS, re.M)
    documented = {
        (name, kind, tuple(labels.replace(" ", "").split(",")) if labels.strip() else ()) for name, kind, labels in rows
    }
    found = set()
    for metric in vars(Metrics()).values():
        if hasattr(metric, "_labelnames"):
            name = metric._name + ("_total" if isinstance(metric, Counter) else "")
            found.add((name, metric._type, tuple(metric._labelnames)))
    assert documented == found
