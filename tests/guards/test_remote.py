"""Remote guards, against real servers: what comes back is checked to the last number."""

import asyncio
import copy
import hashlib
import re
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from guards.guard import GuardError
from guards.language import ONLY_HOME, languages_of
from guards.lists import KeywordGuard, KeywordsSpec
from guards.policy import Policy
from guards.registry import Loading, build, read
from guards.remote import MOST_PASSAGES, RemoteSpec, remote
from guards.transport import Unreachable
from guards.verdict import Passage, Span
from service.guard_server import create_guard_server
from service.judges import BatchedJudges
from service.telemetry.metrics import Metrics
from service.transport import HttpTransport
from tests.fakes import BrokenGuard, ScriptedEngine, WordGuard, text_deltas
from tests.far_end import far_end, running
from tests.serving import served

DIGEST = hashlib.sha256(b"weights").hexdigest()
KEY = "sk-judge"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "guards.md"
POLICY = Policy.model_validate(
    {
        "name": "t",
        "version": 1,
        "guards": ["judge"],
        "input": {"harm": {}},
        "output": {"harm": {}},
        "on_error": "refuse",
    }
)


def told(results, **changes):
    """What a guard server answers."""
    covers = {"input": ["harm"], "output": ["harm", "toxicity"]}
    who = {"name": "far", "version": "7", "digest": DIGEST, "covers": covers, "most_chars": None}
    return who | {"results": results} | changes


def judging(change=lambda answer: answer):
    """A handler that scores `harm` by the word BOMB; its answers, once it has said who it is, go through `change`."""

    async def handler(request):
        passages = (await request.json())["passages"]
        results = [
            {
                "scores": {"harm": float("BOMB" in p["text"]), "toxicity": 0.25},
                "spans": [{"start": at, "end": at + 4, "category": "harm"}]
                if (at := p["text"].find("BOMB")) >= 0
                else [],
            }
            for p in passages
        ]
        answer = told(results)
        return web.json_response(change(answer) if passages else answer)

    return handler


def moderating(change=lambda answer: answer, categories=("violence", "self-harm", "self-harm/intent", "hate")):
    """OpenAI's moderation, by words."""

    async def handler(request):
        body = await request.json()
        results = [
            {
                "flagged": "BOMB" in text,
                "categories": dict.fromkeys(categories, "BOMB" in text),
                "category_scores": {c: 0.9 if "BOMB" in text and c == "violence" else 0.01 for c in categories},
            }
            for text in body["input"]
        ]
        answer = {"id": "modr-1", "model": body["model"], "results": results}
        return web.json_response(answer if body["input"] == ["hello"] else change(answer))

    return handler


@contextmanager
def connected(url, **fields):
    """The guard at an address."""
    spec = RemoteSpec(url=url, **fields)
    transport = HttpTransport(spec)
    try:
        yield remote("judge", spec, transport)
    finally:
        transport.close()


@contextmanager
def reached(handler, **fields):
    with far_end(handler) as url, connected(url, **fields) as guard:
        yield guard


@contextmanager
def guard_server(guard, key=KEY):
    """`sluicegate guards serve`'s app on a real uvicorn."""
    with running(create_guard_server(guard, key)) as url:
        yield url


def test_a_remote_guard_is_the_one_at_the_far_end():
    """Version, digest and coverage are those that the far end tells; scores and spans are its own."""
    with reached(judging()) as guard:
        assert (guard.version, guard.digest) == ("7", DIGEST)
        assert guard.covers("output") == {"harm", "toxicity"}
        clean, bomb = guard.judge([Passage("hello"), Passage("a BOMB", "response", "q")])
    assert clean.by_category == {"harm": 0.0}
    assert bomb.by_category == {"harm": 1.0, "toxicity": 0.25}
    assert bomb.spans == (Span(2, 6, "harm"),)


def test_many_passages_go_in_several_requests():
    """More passages than one request takes come back in their order."""
    with reached(judging()) as guard:
        texts = ["BOMB" if n % 3 == 0 else "fine" for n in range(2 * MOST_PASSAGES + 3)]
        found = guard.judge([Passage(t) for t in texts])
    assert [s.by_category["harm"] for s in found] == [float(t == "BOMB") for t in texts]


def edit(**changes):
    return lambda answer: answer | changes


def edit_result(**changes):
    return lambda answer: answer | {"results": [answer["results"][0] | changes, *answer["results"][1:]]}


WRONG = {
    "a result too few": lambda a: a | {"results": a["results"][1:]},
    "a result too many": lambda a: a | {"results": [*a["results"], a["results"][0]]},
    "a missing category": edit_result(scores={"toxicity": 0.1}),
    "no scores": edit_result(scores={}),
    "a probability above one": edit_result(scores={"harm": 1.5}),
    "a negative one": edit_result(scores={"harm": -0.1}),
    "a word for a number": edit_result(scores={"harm": "0.1"}),
    "a truth value": edit_result(scores={"harm": False}),
    "null": edit_result(scores={"harm": None}),
    "a span beyond the text": edit_result(spans=[{"start": 0, "end": 99, "category": "harm"}]),
    "a span backwards": edit_result(spans=[{"start": 3, "end": 1, "category": "harm"}]),
    "a span of another category": edit_result(spans=[{"start": 0, "end": 1, "category": "pii"}]),
    "another digest": edit(digest=hashlib.sha256(b"new").hexdigest()),
    "no digest": edit(digest=""),
    "an error with status 200": lambda _: {"error": {"message": "overloaded"}},
    "nothing": lambda _: {},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_answer_is_an_error(change):
    """What is missing, too much, out of range, misplaced or by other weights is never a clean verdict."""
    with reached(judging(change)) as guard, pytest.raises(GuardError, match=r"unparsable|changed"):
        guard.judge([Passage("hello"), Passage("there")])


def test_the_message_quotes_nothing_of_the_answer():
    """A far end that echoes a text in the wrong place does not get it into our errors."""
    with reached(judging(edit(digest="my private words"))) as guard, pytest.raises(GuardError) as caught:
        guard.judge([Passage("my private words")])
    assert "private" not in str(caught.value)


def test_who_is_there_is_asked_before_anything_is_judged():
    """A far end that is down, or is not the guard that the file names by digest, fails the start."""
    with far_end(judging()) as url:
        with connected(url, digest=DIGEST[:12]) as guard:
            assert guard.digest == DIGEST
        with pytest.raises(GuardError, match=f"digest {DIGEST[:12]}, not 00000000"), connected(url, digest="00000000"):
            pass
    with pytest.raises(Unreachable, match=f"{url}: no connection"), connected(url):
        pass


def test_a_guards_file_names_remote_and_generative_guards(tmp_path, monkeypatch):
    """What the documentation shows is a guards file: its guards are built under the names that policies use."""
    for variable in ("GUARD_KEY", "OPENAI_API_KEY", "JUDGE_KEY"):
        monkeypatch.setenv(variable, "k")
    shown = re.findall(r"```yaml\nguards:\n(.*?)```", DOCS.read_text(), re.DOTALL)
    blocks = [block for block in shown if "kind: generative" in block or "kind: remote" in block]

    async def either(request):
        return await (moderating() if request.path.endswith("/moderations") else judging())(request)

    with far_end(either) as url:
        text = re.sub(r"https?://[^\s]+(?=\s)", url, "guards:\n" + "".join(blocks))
        file = tmp_path / "guards.yaml"
        file.write_text(text.replace("digest: 3f6a0c51", f"digest: {DIGEST[:8]}"))
        transports = []

        def connect(spec):
            transports.append(HttpTransport(spec))
            return transports[-1]

        guards = build(read(file), Loading(connect=connect), ["llama-guard", "far", "openai"])
        assert guards["llama-guard"].covers("input") >= {"harm", "weapons"}
        assert guards["far"].judge([Passage("a BOMB")])[0].by_category == {"harm": 1.0}
        assert guards["openai"].judge([Passage("a BOMB")])[0].by_category["violence"] == 0.9
        for transport in transports:
            transport.close()


def test_openai_moderation_is_read_in_our_categories():
    """Scores come under our names, the highest of those that mean the same; the digest is that of the model's name."""
    with reached(moderating(), shape="openai-moderation", model="omni") as guard:
        assert guard.version == "omni"
        assert guard.covers("input") == guard.covers("output") == {"violence", "self_harm", "hate"}
        clean, bomb = guard.judge([Passage("fine"), Passage("a BOMB")])
    assert clean.by_category["violence"] == 0.01
    assert bomb.by_category == {"violence": 0.9, "self_harm": 0.01, "hate": 0.01}


def scores_of(**changes):
    def change(answer):
        first = answer["results"][0]["category_scores"] | changes
        kept = {name: score for name, score in first.items() if score != "gone"}
        return answer | {"results": [{"category_scores": kept}, *answer["results"][1:]]}

    return change


MODERATED_WRONG = {
    "a category fewer": scores_of(violence="gone"),
    "a word": scores_of(violence="high"),
    "a truth value": scores_of(violence=True),
    "out of range": scores_of(violence=2),
    "a result too few": lambda a: a | {"results": a["results"][1:]},
    "another model": edit(model="omni-2"),
    "no results": edit(results=None),
    "a category that nobody judged": edit_result(
        category_scores={"violence": 0, "self-harm": 0, "self-harm/intent": 0, "hate": 0},
        sluicegate={"unjudged": ["violence"]},
    ),
}


@pytest.mark.parametrize("change", MODERATED_WRONG.values(), ids=MODERATED_WRONG.keys())
def test_a_wrong_moderation_is_an_error(change):
    """Of the moderation shape too, what is not whole is no verdict."""
    fields = {"shape": "openai-moderation", "model": "omni"}
    with reached(moderating(change), **fields) as guard, pytest.raises(GuardError, match=r"unparsable|changed"):
        guard.judge([Passage("fine"), Passage("too")])


def test_another_gateway_is_a_remote_guard_too(monkeypatch):
    """The moderations of a gateway elsewhere are read as OpenAI's, without the categories that nobody judges there."""
    policy = {"name": "far", "version": 3, "guards": ["words"], "input": {"hate": {}, "violence": {}}}
    with served(Policy.model_validate(policy), [WordGuard({"hate": "FOOL", "violence": "BOMB"})]) as service:
        monkeypatch.setenv("JUDGE_KEY", service.key)
        fields = {"shape": "openai-moderation", "model": "any", "key_env": "JUDGE_KEY"}
        with connected(service.url + "/v1", **fields) as guard:
            assert guard.version == "far@3"
            assert guard.covers("input") == {"hate", "violence"}
            assert guard.judge([Passage("a BOMB")])[0].by_category == {"hate": 0.0, "violence": 1.0}


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": "openai-moderation"},
        {"model": "omni"},
        {"shape": "openai-moderation", "model": "m", "digest": "0" * 12},
        {"url": "ftp://host"},
        {"digest": "not hex!"},
        {"timeout_s": 0},
        {"headers": {"x": "y"}},
    ],
)
def test_a_wrong_spec_is_refused(wrong):
    """Fields that do not belong together, other schemes and unknown fields are faults."""
    with pytest.raises(ValidationError):
        RemoteSpec(**({"url": "http://judge.test"} | wrong))


def test_what_guards_serve_serves_is_the_same_guard(monkeypatch):
    """Through HTTP a guard says what it says here: scores, spans, version, digest, coverage; long texts in parts."""
    monkeypatch.setenv("JUDGE_KEY", KEY)
    local = WordGuard({"harm": "BOMB", "toxicity": "FOOL"})
    texts = ["fine", "a BOMB", "x" * 9_000 + "FOOL", "\ud800 BOMB \U0001f4a3 FOOL"]
    passages = [Passage(t) for t in texts] + [Passage(t, "response", "a question") for t in texts]
    with guard_server(local) as url, connected(url, key_env="JUDGE_KEY") as guard:
        assert (guard.version, guard.digest, guard.most_chars) == (local.version, local.digest, local.most_chars)
        assert guard.covers("input") == local.covers("input")
        assert guard.judge(passages) == WordGuard(local.words).judge(passages)
        assert languages_of(guard) == languages_of(local) == ONLY_HOME
    assert {p.prompt for p in local.judged} == {"", "a question"}


def test_a_text_that_grows_is_told_to_grow(monkeypatch):
    """The far end knows that more may follow, so that half a word is no finding there either."""
    monkeypatch.setenv("JUDGE_KEY", KEY)
    words = KeywordGuard("words", KeywordsSpec(lists={"harm": ["bad"]}))
    passages = [Passage("bad", "response", growing=growing) for growing in (True, False)]
    with guard_server(words) as url, connected(url, key_env="JUDGE_KEY") as guard:
        assert [s.by_category["harm"] for s in guard.judge(passages)] == [0.0, 1.0]


def test_a_guard_server_is_closed_by_default():
    """Without the key, or with a wrong one, nothing is judged; only health is open."""
    local = WordGuard({"harm": "BOMB"})
    with guard_server(local) as url:
        body = {"passages": [{"text": "BOMB"}]}
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": KEY}):
            assert httpx.post(url + "/judge", json=body, headers=headers).status_code == 401
        assert httpx.get(url + "/health").json() == {"status": "ok"}
        assert httpx.get(url + "/openapi.json").status_code == 404
        with pytest.raises(Unreachable, match="401"), connected(url):
            pass
    assert local.judged == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"passages": [{"text": 1}]}', 400),
        (b'{"passages": [{"text": "a", "kind": "poem"}]}', 400),
        (b'{"passages": [{"text": "a", "tenant": "x"}]}', 400),
        (b'{"passages": [' + b",".join([b'{"text": "a"}'] * (MOST_PASSAGES + 1)) + b"]}", 400),
        (b'{"passages": [{"text": "' + b"a" * 4_000_001 + b'"}]}', 413),
    ],
)
def test_a_guard_server_refuses_what_it_cannot_read(body, status):
    """A malformed, unknown or too long request is refused whole, with an error that says what is wrong."""
    with guard_server(WordGuard({"harm": "BOMB"})) as url:
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        response = httpx.post(url + "/judge", content=body, headers=headers)
    assert response.status_code == status
    assert response.json()["error"]["message"]


async def test_one_bad_passage_fails_alone_through_http_too(monkeypatch):
    """When the far guard fails on one passage of a batch, the others of the batch are judged."""
    monkeypatch.setenv("JUDGE_KEY", KEY)
    local = BrokenGuard({"harm": "BOMB"}, trigger="poison")
    with guard_server(local) as url, connected(url, key_env="JUDGE_KEY") as guard:
        async with BatchedJudges([guard], Metrics()) as judges:
            rows = await judges.judge([Passage("fine"), Passage("poison"), Passage("BOMB")], POLICY, "acme")
    assert [row[0].error for row in rows] == [None, "status 500", None]
    assert rows[2][0].scores.by_category["harm"] == 1
    assert rows[2][0].digest == local.digest


async def test_a_far_end_that_is_down_is_asked_once_a_batch():
    """A batch whose far end cannot be reached fails whole; its passages are not tried one by one."""
    asked = 0

    async def breaking(request):
        nonlocal asked
        asked += 1
        return await judging()(request) if asked == 1 else web.Response(status=503)

    with reached(breaking) as guard:
        async with BatchedJudges([guard], Metrics()) as judges:
            rows = await judges.judge([Passage(f"text {n}") for n in range(10)], POLICY, "acme")
    assert [row[0].error for row in rows] == ["status 503"] * 10
    assert asked == 2


async def test_batches_of_a_remote_guard_overlap():
    """While one batch waits for the far end, the next is on its way: neither is answered before both are there."""
    both, there = asyncio.Barrier(2), []

    async def slow(request):
        if passages := (await request.json())["passages"]:
            there.append(passages)
            await asyncio.wait_for(both.wait(), 20)
        return web.json_response(told([{"scores": {"harm": 0.0, "toxicity": 0.0}}] * len(passages)))

    with reached(slow) as guard:
        async with BatchedJudges([guard], Metrics()) as judges:
            first = asyncio.create_task(judges.judge([Passage("one")], POLICY, "acme"))
            while not there:
                await asyncio.sleep(0.01)
            rows = [*await judges.judge([Passage("two")], POLICY, "acme"), *await first]
    assert [row[0].error for row in rows] == [None, None]


async def test_unparsable_answers_and_timeouts_are_counted_by_their_kind():
    """Metrics tell an answer that cannot be read from one that did not come, and hold nothing of either."""
    metrics = Metrics()
    with reached(judging(lambda _: {})) as guard:
        async with BatchedJudges([guard], metrics) as judges:
            await judges.judge([Passage("fine")], POLICY, "acme")

    async def late(request):
        passages = (await request.json())["passages"]
        await asyncio.sleep(5 if passages else 0)
        return web.json_response(told([]))

    with reached(late, timeout_s=0.2) as guard:
        async with BatchedJudges([guard], metrics) as judges:
            await judges.judge([Passage("fine")], POLICY, "acme")
    shown = metrics.exposition().decode()
    for kind in ("unparsable", "timeout"):
        assert f'sluicegate_guard_errors_total{{guard="judge",kind="{kind}",version="7"}} 1.0' in shown


SHAPES = {
    "sluicegate": (RemoteSpec(url="http://judge.test"), told([])),
    "openai-moderation": (
        RemoteSpec(url="http://judge.test", shape="openai-moderation", model="omni"),
        {"model": "omni", "results": [{"category_scores": {"hate": 0.1, "violence": 0.2}}]},
    ),
}
ANSWERS = {
    "sluicegate": told([{"scores": {"harm": 0.5}, "spans": []}]),
    "openai-moderation": SHAPES["openai-moderation"][1],
}
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-3, 3) | st.sampled_from(["", "harm", "0.5", "omni", DIGEST]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["scores", "harm", "spans", "results", "category_scores", "hate"]), inner)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("shape", SHAPES)
@given(data=st.data())
def test_whatever_comes_back_is_a_score_of_every_category_or_an_error(shape, data):
    """Of an answer with any part replaced by any JSON comes a number from 0 to 1 for each category, or a GuardError."""
    spec, first = SHAPES[shape]
    answers = [first]

    class Answering:
        def post(self, path, bodies):
            return [answers.pop()]

    guard = remote("judge", spec, Answering())
    answer = copy.deepcopy(ANSWERS[shape])
    holder, key = data.draw(st.sampled_from(list(parts(answer))))
    holder[key] = data.draw(JSON)
    answers.append(answer)
    try:
        (scores,) = guard.judge([Passage("hello")])
    except GuardError:
        return
    assert scores.by_category.keys() == guard.covers("input")
    assert all(type(p) is float and 0 <= p <= 1 for p in scores.by_category.values())


def parts(node):
    """Every place of a JSON document, as what holds it and under which key."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield node, key
        if isinstance(value, dict | list):
            yield from parts(value)


def ask(service, text, **more):
    headers = {"authorization": f"Bearer {service.key}"}
    body = {"model": "m", "messages": [{"role": "user", "content": text}]} | more
    return httpx.post(service.url + "/v1/chat/completions", json=body, headers=headers, timeout=20)


async def hang(_request):
    await asyncio.sleep(30)


async def status_500(_request):
    return web.Response(status=500, text='{"results": []}')


async def redirect(_request):
    return web.Response(status=307, headers={"location": "http://127.0.0.1:1/"})


async def half_json(_request):
    return web.Response(text='{"results": [{"scores": {"harm": 0.0', content_type="application/json")


async def huge(_request):
    return web.Response(text='{"results": "' + "x" * 5_000_000 + '"}', content_type="application/json")


async def drip(request):
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(100):
        await response.write(b" ")
        await asyncio.sleep(0.1)
    return response


async def wrong_key(_request):
    return web.json_response({"error": {"message": "wrong key"}}, status=401)


FAULTS = {
    "silence": hang,
    "500": status_500,
    "redirect": redirect,
    "half JSON": half_json,
    "huge": huge,
    "drip": drip,
    "wrong key": wrong_key,
    "wrong count": judging(WRONG["a result too few"]),
    "missing category": judging(WRONG["a missing category"]),
    "another digest": judging(WRONG["another digest"]),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_at_the_gate_a_failing_remote_guard_refuses(fault):
    """With `on_error: refuse` a client reads 503 guard_unavailable, whatever went wrong, and no text leaves."""
    failing = False

    async def handler(request):
        return await (fault if failing else judging())(request)

    engine = ScriptedEngine(text_deltas("All is well."))
    with reached(handler, timeout_s=0.5) as guard, served(POLICY, [guard], engine) as service:
        assert ask(service, "hello").status_code == 200
        assert ask(service, "a BOMB").json()["error"]["code"] == "content_filter"
        failing = True
        refused = ask(service, "hello again")
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "guard_unavailable"
    assert "well" not in refused.text
    errors = {v["error"] for e in service.ledger.of("verdict") for v in e["verdicts"] if v.get("error")}
    assert not any("BOMB" in e or "hello" in e for e in errors)
