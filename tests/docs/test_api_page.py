"""Every curl line of docs/api.md, typed in the page's order, is answered as the page and the OpenAPI document say."""

import asyncio
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
import pytest_asyncio
from aiohttp import web

from tests.far_end import far_end
from tests.gateway import KEY, SLUICEGATE, environment, gateway

ROOT = Path(__file__).parents[2]
API = (ROOT / "docs/api.md").read_text()
PARTS = re.split(r"^## ((?:GET|POST) /\S*)$", API, flags=re.M)
CURL = re.compile(r"^    (curl (?:.*\\\n)*.*)(?:\n\n    (\{.*\})$)?", re.M)
CALLS = [(route, *found) for route, text in zip(PARTS[1::2], PARTS[2::2], strict=True) for found in CURL.findall(text)]
TYPED = {route: typed for route, typed, _ in CALLS}
TELLS = "set -eu\ncurl() { command curl -sS -w '\\n%{http_code} %{content_type}' \"$@\"; }\n"
MODEL, TRIGGER = "smollm2-135m-instruct", "SLUICEGATE-54BFZPO6-HARM"
BEFORE = {  # lines of the page that are typed once more, for what they gave is used up by then
    "POST /v1/review/heartbeat": ["POST /v1/review/next"],
    "GET /v1/review/export": ["POST /v1/review/next", "POST /v1/review/decide"],
}
GIVES: dict[str, Callable[[Any], dict[str, str]]] = {  # by what stands for it in later lines
    "POST /v1/appeals": lambda answer: {"{appeal}": answer["id"]},
    "POST /v1/review/next": lambda answer: {'"7d1c"': f'"{answer["token"]}"', "{item}": answer["item"]["id"]},
    "POST /v1/review/decide": lambda answer: {"dec_7d1c": answer["decision_id"]},
    "POST /v1/review/undo": lambda answer: {'"7d1c"': f'"{answer["token"]}"'},
    "GET /v1/review/candidates": lambda lines: {"exc_0f3a...": lines[0]["exchange_id"]},
    "POST /v1/learning/models": lambda answer: {"{name}": answer["name"], "{version}": answer["version"]},
}
LINES = {  # fields of each: of JSON lines the document says only that they are
    "GET /v1/review/export": {"exchange_id", "kind", "prompt", "labels"},
    "GET /v1/review/candidates": {"exchange_id", "asked_at", "scores"},
    "GET /v1/learning/scores": {"at", "outcome", "categories", "scores"},
}


class Answer(NamedTuple):
    status: int
    kind: str
    body: str

    @property
    def read(self) -> Any:
        lines = self.kind == "application/x-ndjson"
        return [json.loads(line) for line in self.body.splitlines()] if lines else json.loads(self.body)


class Reader(NamedTuple):
    """Somebody at a shell. `given`: what the service gave so far, by what the page has in its place."""

    environment: dict[str, str]
    given: dict[str, str]

    async def types(self, typed: str) -> Answer:
        for here, there in self.given.items():
            typed = typed.replace(here, there)
        assert not re.search(r"\{\w+\}|\.\.\.", typed), f"nothing was given for a part of: {typed}"
        body, _, told = (await printed("bash", "-c", TELLS + typed, env=self.environment)).rpartition("\n")
        status, _, kind = told.partition(" ")
        return Answer(int(status), kind.partition(";")[0], body)

    async def document(self) -> Any:
        """The OpenAPI document; the route that gives it, which it does not name, is added."""
        found = (await self.types(TYPED["GET /openapi.json"])).read
        own = {"200": {"content": {"application/json": {"schema": {}, "example": found}}}}
        return found | {"paths": found["paths"] | {"/openapi.json": {"get": {"responses": own}}}}


async def printed(*command: str | Path, env: dict[str, str]) -> str:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, env=env, stdout=pipe, stderr=pipe)
    out, errors = await process.communicate()
    assert process.returncode == 0, f"{command[-1]}\n{errors.decode()}"
    return out.decode()


def fault(route: str, answer: Answer, document: Any) -> str | None:
    """What keeps an answer from being the one that is documented for the route; None: nothing."""
    method, path = route.split()
    responses = document["paths"][path][method.lower()]["responses"]
    (status,) = (status for status in responses if status.startswith("2"))
    kinds = responses[status]["content"]
    if str(answer.status) != status or answer.kind not in kinds:
        return f"{answer.status} {answer.kind}, not {status} {list(kinds)}: {answer.body}"
    if answer.kind == "text/plain":
        return None if "\n# TYPE sluicegate_" in answer.body else "no metrics"
    if route in LINES:
        return None if answer.read and all(one.keys() >= LINES[route] for one in answer.read) else "no such lines"
    schema, example = kinds[answer.kind]["schema"], kinds[answer.kind]["example"]
    for error in jsonschema.Draft202012Validator(document | schema).iter_errors(answer.read):
        return f"{error.json_path}: {error.message}"
    if missing := example.keys() - answer.read.keys():
        return f"without {missing}"
    return "an empty list" if answer.read.get("data") == [] else None


async def engine(request: web.Request) -> web.Response:
    """Its end of the wire: the small model says one thing, any other embeds."""
    if request.method == "GET":
        return web.json_response({"data": [{"id": MODEL, "object": "model", "created": 1795000000}]})
    model, usage = (await request.json())["model"], {"prompt_tokens": 8, "completion_tokens": 8, "total_tokens": 16}
    if request.path == "/v1/embeddings":
        if model == MODEL:
            raise web.HTTPNotFound
        return web.json_response({"data": [{"index": 0, "embedding": [0.5]}], "model": model, "usage": usage})
    said = {"text": "Paris."} if request.path == "/v1/completions" else {"delta": {"content": "Paris."}}
    event = {"choices": [{"index": 0, "finish_reason": "stop"} | said], "usage": usage}
    return web.Response(text=f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n", content_type="text/event-stream")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def reader(tmp_path_factory):
    """Of a service that has a clean exchange and a refused one on record, and a version's files in its registry."""
    if missing := [program for program in ("bash", "curl") if not shutil.which(program)]:
        pytest.skip(f"what readers type needs {', '.join(missing)}")
    home, shipped = tmp_path_factory.mktemp("var"), ROOT / "guards/models/default"
    policy, version = home / "policy.yaml", home / "registry/models/default/0.4.0"
    kept = (ROOT / "guards/policies/default.yaml").read_text()  # and texts of clean exchanges: those are candidates
    policy.write_text(kept.replace("store: flagged", "store: sampled\nsample_share: 1"))
    version.mkdir(parents=True)
    for path in shipped.iterdir():
        (version / path.name).symlink_to(path)
    weights = json.loads((shipped / "guard.json").read_text())["files"]["model.onnx"]
    given = {"0280...": weights, "5f1c...": "5f1c" * 16, "since=1795000000": "since=1"}  # whatever the clock says
    with far_end(engine) as at:
        async with gateway(home, engine_url=at, policy=str(policy)) as (_, url):
            create, roles = (SLUICEGATE, "keys", "create", "--role"), ("operator", "moderator")
            made = await asyncio.gather(*(printed(*create, role, env=environment(home)) for role in roles))
            keys = {f"{role.upper()}_KEY": key.strip() for role, key in zip(roles, made, strict=True)}
            reader = Reader({"PATH": os.environ["PATH"], "URL": url, "KEY": KEY} | keys, given)
            await reader.types(chat := TYPED["POST /v1/chat/completions"])
            refused = await reader.types(chat.replace("What is the capital of France?", TRIGGER))
            assert refused.status == 400
            given["exc_0f3a5c7e9b1d4f6a8c0e2b4d6f8a1c3e"] = refused.read["error"]["sluicegate"]["exchange_id"]
            async with asyncio.timeout(60):
                while sum(q["open"] for q in (await reader.types(TYPED["GET /v1/review/counts"])).read["data"]) < 2:
                    await asyncio.sleep(0.05)
            yield reader


@pytest.mark.asyncio(loop_scope="module")
async def test_every_line_works(reader):
    """In order, each with the success that is documented: what a line gives, later ones are typed with."""
    document, ran = await reader.document(), 0
    for route, _, shown in CALLS:
        for each in (*BEFORE.get(route, ()), route):
            answer = await reader.types(TYPED[each])
            assert (wrong := fault(each, answer, document)) is None, f"{TYPED[each]}\n{wrong}"
            reader.given.update(GIVES[each](answer.read) if each in GIVES else {})
        assert not shown or answer.read == json.loads(shown), f"{route} shows {shown}"
        ran += 1
    assert ran == len(TYPED) == len(re.findall(r'curl "?\$URL', API))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("route", "right", "wrong", "status"),
    [
        ("POST /v1/chat/completions", '"messages"', '"massages"', 400),
        ("POST /v1/embeddings", "an-embedding-model", MODEL, 404),  # the one that the page promises
        ("POST /v1/explain", "$OPERATOR_KEY", "$KEY", 403),
        ("POST /v1/learning/models", "default/0.4.0", "default/0.4.1", 409),
    ],
)
async def test_a_wrong_line_is_found(reader, route, right, wrong, status):
    assert right in TYPED[route]
    answer = await reader.types(TYPED[route].replace(right, wrong))
    assert str(fault(route, answer, await reader.document())).startswith(f"{status} application/json, not 20")
    assert status != 404 or "does not embed it" in answer.body


@pytest.mark.asyncio(loop_scope="module")
async def test_a_wrong_answer_is_found(reader):
    """A field too few, one of another type, an empty list, HTML, no line."""
    document, right = await reader.document(), await reader.types(TYPED["GET /v1/guards"])
    assert fault("GET /v1/guards", right, document) is None
    for body in ('{"object": "list"}', '{"object": "list", "data": 1}', '{"object": "list", "data": []}'):
        assert fault("GET /v1/guards", right._replace(body=body), document)
    assert fault("GET /v1/guards", right._replace(kind="text/html"), document)
    assert fault("GET /v1/learning/scores", Answer(200, "application/x-ndjson", ""), document)
