"""Generated requests, valid and not: no 5xx, no undocumented status, every answer as documented."""

import os

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi import checks as openapi_checks

from service.gate.exchange import Delta
from tests.api.conftest import WORDS, policy
from tests.fakes import ScriptedEngine, WordGuard
from tests.serving import ADMIN_KEY, served

EXAMPLES = 300 if os.environ.get("SLUICEGATE_PROVE") else 15
CHECKS = (
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.negative_data_rejection,
    openapi_checks.ignored_auth,
    openapi_checks.unsupported_method,
)


class Answering(ScriptedEngine):
    """Gives as many choices as are asked for."""

    async def stream(self, endpoint, body, tenant):
        prompt = body.get("prompt", "")
        for index in range(body.get("n", 1) * (1 if isinstance(prompt, str) else len(prompt))):
            yield Delta(index, text="Hello, how can I help?")
            yield Delta(index, finish_reason="stop")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with served(policy(), [WordGuard(WORDS)], Answering(), home=tmp_path_factory.mktemp("record")) as running:
        yield running


@pytest.fixture(scope="module")
def described(service):
    headers = {"Authorization": f"Bearer {service.key}"}
    return schemathesis.openapi.from_url(service.url + "/openapi.json", headers=headers)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_operation(described, service, mode):
    """Whatever is sent, the answer is one that the document promises."""
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) == 38
    for operation in operations:
        if mode.is_negative and operation.label.removeprefix("GET ") in (
            "/health/live",
            "/health/ready",
            "/metrics",
            "/v1/models",
            "/v1/coverage",
            "/v1/guards",
            "/v1/learning/datasets",
            "/v1/learning/models",
            "/v1/review/counts",
        ):
            continue  # nothing in these requests can be wrong

        @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), derandomize=True)
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers_as_documented(case):
            case.call_and_validate(headers={"Authorization": f"Bearer {ADMIN_KEY}"}, checks=CHECKS)

        answers_as_documented()


def test_every_example(described):
    """Each example of the document is of the schema beside it."""
    document, looked_at = described.raw_schema, 0
    bodies = [found.definition.raw for operation in described.get_all_operations() for found in [operation.ok()]]
    for body in bodies:
        for said in (body.get("requestBody", {}), *body["responses"].values()):
            for kind, content in said.get("content", {}).items():
                examples = [e["value"] for e in content.get("examples", {}).values()] + [content.get("example")]
                for example in examples if kind == "application/json" else []:
                    if example is not None:
                        jsonschema.Draft202012Validator(document | content["schema"]).validate(example)
                        looked_at += 1
    assert looked_at > 300
