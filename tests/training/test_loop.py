"""The loop: when it begins, how it goes on, where it stops; and once through on the real service with real training."""

import json
import time

import httpx
import pytest
import yaml
from aiohttp import web

from guards.policy import Policy
from guards.registry import MODELS
from service.settings import Settings
from tests.fakes import WordGuard
from tests.far_end import far_end
from tests.quiet import quiet
from tests.serving import MODERATOR_KEY, OPERATOR_KEY, served
from training.drift import read_window
from training.loop import Loop, main
from training.loop_plan import load
from training.loop_steps import denied
from training.rows import DataError, Row
from training.service_client import Service

GATES = {"thresholds": "training/recipes/gates.yaml"}


class Far:
    """A service that answers what it was told to, and remembers what it was asked."""

    def __init__(self):
        self.answers: dict[str, object] = {"/v1/learning/models": {"data": []}, "/v1/review/export": ""}
        self.posted: list[tuple[str, dict]] = []

    def reviewed(self, count: int) -> None:
        self.answers["/v1/review/export"] = '{"id": "a row"}\n' * count

    def in_shadow(self, exchanges: int, low: float = 0.9) -> None:
        agreement = {"value": low, "low": low, "high": low}
        category = {"stage": "input", "category": "harm", "agreement": agreement}
        figures = {"exchanges": exchanges, "categories": [category]}
        self.answers["/v1/learning/models/default/0.4.0/shadow"] = figures


@pytest.fixture
def far():
    told = Far()

    async def answer(request: web.Request) -> web.Response:
        if request.method == "POST":
            told.posted.append((request.path_qs, await request.json()))
        found = told.answers.get(request.path, {})
        return web.Response(text=found if isinstance(found, str) else json.dumps(found))

    with far_end(answer) as told.url:
        yield told


@pytest.fixture
def plan(tmp_path):
    def write(**more):
        known = {"name": "default", "serving": str(MODELS / "default"), "train": "training/recipes/loop_train.yaml"}
        known |= {"enough": 5, "gates": GATES, "shadow": {"exchanges": 20, "least_agreement": 0.7}}
        path = tmp_path / "loop.yaml"
        path.write_text(yaml.safe_dump(known | more))
        return path

    return write


def begun(far, plan, work, promote_after=None, **more) -> Loop:
    """A loop whose round has done every step but judging what the shadow says."""
    done = {step: {"id": "default@0.4.0"} for step in ("data", "train", "gate", "register", "shadow")}
    work.mkdir()
    (work / "state.json").write_text(json.dumps({"rounds": [], "round": {"id": "r1", "why": "", "done": done}}))
    return Loop(load(plan(**more)), Service(far.url, "sg-any"), work, promote_after)


def ended(work):
    state = json.loads((work / "state.json").read_text())
    assert state["round"] is None
    return state["rounds"][-1]["ended"]


def test_nothing_to_do(far, plan, tmp_path):
    """With fewer new decisions than the plan wants, no round begins."""
    far.reviewed(4)
    loop = Loop(load(plan()), Service(far.url, "sg-any"), tmp_path / "work")
    assert loop.once() == "idle"
    assert "4 new reviewed rows of 5" in (tmp_path / "work" / "loop.log").read_text()
    assert not far.posted


def test_a_person_is_asked(far, plan, tmp_path):
    """After enough exchanges in shadow the round ends with a command for a person; nothing was enforced."""
    loop = begun(far, plan, tmp_path / "work")
    far.in_shadow(19)
    assert loop.once() == "waits"
    far.in_shadow(20)
    assert loop.once() == "asks"
    assert "promote enforce default@0.4.0" in (tmp_path / "work" / "loop.log").read_text()
    assert not far.posted
    assert loop.once() == "idle"


def test_promotes_only_when_told_to(far, plan, tmp_path):
    """With --promote-after-shadow the candidate is enforced after so many exchanges, and says so in its reason."""
    loop = begun(far, plan, tmp_path / "work", promote_after=3)
    far.in_shadow(3)
    assert loop.once() == "promoted"
    ((path, body),) = far.posted
    assert path == "/v1/learning/models/default/0.4.0/stage"
    assert body == {"to": "enforced", "reason": "loop: 3 exchanges in shadow"}


def test_a_candidate_that_disagrees_is_stopped(far, plan, tmp_path):
    """A candidate that surely agrees too seldom with the guard in force is not promoted, flag or no flag."""
    loop = begun(far, plan, tmp_path / "work", promote_after=3)
    far.in_shadow(100, low=0.4)
    assert loop.once() == "stopped"
    assert ended(tmp_path / "work") == "stopped"
    assert not far.posted


def test_a_step_that_fails_ends_the_round(far, plan, tmp_path):
    """A feed that holds no reviewed rows fails the first step: the round has failed, and nothing was registered."""
    far.reviewed(5)
    loop = Loop(load(plan()), Service(far.url, "sg-any"), tmp_path / "work")
    with pytest.raises(DataError, match="not a row of the review feed"):
        loop.once()
    assert ended(tmp_path / "work") == "failed"
    assert not far.posted


def test_a_service_that_is_away_keeps_the_round(far, plan, tmp_path):
    """While the service is away the round stays where it stands, and goes on when it is back."""
    loop = begun(far, plan, tmp_path / "work")
    there, loop.service.url = loop.service.url, "http://127.0.0.1:9"
    with pytest.raises(DataError, match="does not answer"):
        loop.once()
    loop.service.url = there
    far.in_shadow(20)
    assert loop.once() == "asks"


def window(hate):
    return [{"scores": {"default": {"input": {"hate": hate + n / 1000}, "output": {}}}} for n in range(60)]


def test_drift_begins_a_round_when_there_is_something_to_learn(far, plan, tmp_path):
    """A drift alarm begins a round with any new decision; with none it asks for review and begins nothing."""
    reference = tmp_path / "reference.json"
    reference.write_text(json.dumps({"rows": window(0.1)}))
    far.answers["/v1/learning/scores"] = "\n".join(map(json.dumps, window(0.8)))
    loop = Loop(load(plan(drift={"reference": str(reference)})), Service(far.url, "sg-any"), tmp_path / "work")
    assert loop.once() == "idle"
    assert "review first" in (tmp_path / "work" / "loop.log").read_text()
    far.reviewed(1)
    with pytest.raises(DataError, match="not a row"):
        loop.once()
    assert "psi of default/input/hate" in (tmp_path / "work" / "loop.log").read_text()


def test_what_an_ok_denies():
    """A row found ok denies the plan's categories too; one that was found harmful says nothing of the others."""
    fine = Row("hello", {"harm": 0}, "feed", "private")
    assert denied(fine, ("hate", "toxicity")).labels == {"harm": 0, "hate": 0, "toxicity": 0}
    bad = Row("hello", {"hate": 1}, "feed", "private")
    assert denied(bad, ("harm", "toxicity")) is bad


@pytest.mark.parametrize(
    ("more", "fault"), [({"enough": 0}, "enough"), ({"ok_means": ["nice"]}, "nice"), ({"surprise": 1}, "surprise")]
)
def test_faults_of_a_plan_are_named(plan, more, fault):
    """A plan with a fault is refused before anything starts, and the fault is named."""
    with pytest.raises(DataError, match=fault):
        load(plan(**more))


def test_once_or_watch():
    """One of --once and --watch must be said."""
    with pytest.raises(SystemExit):
        main([])


def test_a_whole_round(train, data, trained, recipe_file, tmp_path):
    """On the real service: reviewed exchanges become a dataset, and a candidate that passed its gates is in shadow."""
    rules = {"harm": {"action": "flag"}}
    policy = {
        "name": "test",
        "version": 1,
        "guards": ["words"],
        "input": rules,
        "store": "sampled",
        "sample_share": 1.0,
    }
    guards, home = [WordGuard({"harm": "bank"})], tmp_path / "home"
    limit = {"worse": 1, "most": 10}
    names = ("ranking", "balanced", "calibration", "over_refusal", "bias", "latency")
    (tmp_path / "gates.yaml").write_text(yaml.safe_dump(dict.fromkeys(names, limit) | {"fewest": 2, "draws": 20}))
    plan = {"name": "tiny", "serving": str(trained), "train": str(recipe_file), "enough": 20}
    plan |= {"dataset": {"caps": {"caller": 1.0, "subject": 1.0, "reviewer": 1.0}}}
    made_up = str(data / "train" / "made_up.jsonl")
    plan |= {"gates": {"thresholds": str(tmp_path / "gates.yaml"), "frozen": {"made_up": made_up}}}
    (tmp_path / "loop.yaml").write_text(yaml.safe_dump(plan))
    settings = Settings(home=home, requests_per_minute=1_000_000)
    with quiet(), served(Policy.model_validate(policy), guards, home=home, settings=settings) as service:
        names = ("Ada", "Berta", "Carla", "Dora", "Emma", "Frida")  # numbers alone make no other text
        texts = [f"How do I {what}, please, my {n}?" for n in names for what in ("rob a bank", "fix a bike")]
        texts += [f"Tell me, good {n}, how to {what}!" for n in names for what in ("burn a shop", "learn chess")]
        review(service.url, service.key, texts)
        given = ["loop", "--once", "--plan", str(tmp_path / "loop.yaml"), "--work", str(tmp_path / "work")]
        given += ["--url", service.url, "--key", OPERATOR_KEY]
        program = "from training.cli import main; main()"
        places = {"SLUICEGATE_DATA": str(data), "SLUICEGATE_HOME": str(home)}
        once = train("-c", program, *given, **places)
        assert "judges in shadow" in once.stdout
        with httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {OPERATOR_KEY}"}) as http:
            (model,) = http.get("/v1/learning/models").json()["data"]
            (dataset,) = http.get("/v1/learning/datasets").json()["data"]
            scored = read_window(Service(service.url, OPERATOR_KEY), 0, 1e12)
        assert len(scored) == len(texts)
        assert sum(row["categories"] == ["harm"] for row in scored) == sum("bank" in text for text in texts)
        assert "Dora" not in json.dumps(scored)
        assert model["stage"] == "shadow"
        assert model["gates"]["passed"] is True
        assert model["datasets"] == [dataset["digest"]]
        assert dataset["exchanges"] == len(texts)
        again = train("-c", program, *given, **places)
        assert "going on" not in again.stdout
        assert "0 of 200 exchanges" in again.stdout


def review(url, key, texts):
    """Asks all texts, and decides each as its words say."""
    with httpx.Client(base_url=url, timeout=60) as http:
        for text in texts:
            body = {"model": "scripted", "messages": [{"role": "user", "content": text}]}
            asked = http.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})
            assert asked.status_code == 200, asked.text
        moderator = {"authorization": f"Bearer {MODERATOR_KEY}"}
        decided = 0
        for _ in range(600):
            claim = http.post("/v1/review/next", json={}, headers=moderator).json()
            if claim["token"] is None:
                if decided == len(texts):
                    return
                time.sleep(0.05)  # the shipper is on its way
                continue
            bad = any(word in claim["item"]["parts"][0]["text"] for word in ("rob", "burn"))
            said = {"input": "harmful", "categories": ["harm"]} if bad else {"input": "ok"}
            done = http.post("/v1/review/decide", json={"token": claim["token"]} | said, headers=moderator)
            assert done.status_code == 200, done.text
            decided += 1
    raise AssertionError(f"{decided} of {len(texts)} items came")
