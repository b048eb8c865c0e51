"""A candidate that is worse in any way is stopped; one that is not, is not."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from guards.evaluation.metrics import Interval
from guards.evaluation.rows import Line
from guards.policy import Policy
from guards.verdict import Passage, Scores
from service.settings import Settings
from tests.fakes import WordGuard
from tests.serving import OPERATOR_KEY, served
from training import gates, promote, recipe
from training.compare import latency, measure_all, over_refusal
from training.gates import Limit, Outcome, Thresholds, allowed, bias, of_category
from training.gates_report import html, rows
from training.rows import DataError
from training.service_client import Service, ServiceError

LIMITS = gates.thresholds()


@dataclass
class Scored:
    """A guard that knows its scores by heart."""

    by_text: dict[str, float]
    categories: frozenset[str] = frozenset({"hate"})
    name: str = "scored"
    version: str = "1"
    digest: str = "0" * 64
    most_chars: int | None = None
    asked: list[int] = field(default_factory=list)

    def covers(self, stage):
        return self.categories if stage == "input" else frozenset()

    def judge(self, passages):
        self.asked.append(len(passages))
        return [Scores(dict.fromkeys(self.categories, self.by_text[p.text])) for p in passages]


def scores(n=400, seed=0, skill=2.0):
    """Labels, and scores that tell them apart by `skill` standard deviations."""
    random = np.random.default_rng(seed)
    labels = (random.random(n) < 0.4).astype(np.int64)
    return labels, 1 / (1 + np.exp(-(skill * (labels - 0.5) + random.normal(size=n))))


def checks(candidate, serving, labels, **more):
    made = of_category("a set", "hate", (candidate, serving), labels, None, LIMITS, **more)
    return {c.name: c for c in made}


def test_equal_guards_pass():
    """A guard held against itself differs in nothing, with intervals of no width."""
    labels, found = scores()
    made = checks(found, found, labels, calibrated=True)
    assert made.keys() == {"ranking", "balanced", "calibration"}
    assert all(c.passed and (c.difference, c.low, c.high) == (0, 0, 0) for c in made.values())


def test_a_worse_ranking_stops():
    """Scores that tell less than before are stopped by the ranking, and the threshold's figure agrees."""
    labels, found = scores()
    made = checks(scores(skill=0.3)[1], found, labels)
    assert not made["ranking"].passed
    assert made["ranking"].high < 0
    assert not made["balanced"].passed


def test_a_better_one_passes():
    """Scores that tell more pass, however different they are."""
    labels, found = scores()
    assert all(c.passed for c in checks(scores(skill=4)[1], found, labels).values())


def test_a_moved_threshold_stops_though_the_ranking_is_the_same():
    """Scores squeezed under the threshold rank as before and stop nothing any more: the balance shows it."""
    labels, found = scores()
    made = checks(found * 0.4, found, labels)
    assert made["ranking"].passed
    assert not made["balanced"].passed


def test_calibration_counts_on_traffic_alone():
    """Scores pushed to the ends are stopped for calibration where shares are the traffic's, and not on frozen sets."""
    random = np.random.default_rng(0)
    found = random.random(400)
    labels = (random.random(400) < found).astype(np.int64)
    sure = np.where(found > 0.5, 0.999, 0.001)
    assert not checks(sure, found, labels, calibrated=True)["calibration"].passed
    assert "calibration" not in checks(sure, found, labels)


def test_sets_of_one_label_and_of_few_rows():
    """All of one label: the share judged right is checked and no ranking; too few rows: nothing is."""
    _, found = scores()
    assert checks(found, found, np.ones(400, np.int64)).keys() == {"balanced"}
    assert not checks(found[:10], found[:10], np.ones(10, np.int64))


@pytest.mark.parametrize(
    ("value", "low", "high", "better", "passed"),
    [
        (-0.02, -0.04, 0.01, 1, True),  # worse, perhaps
        (-0.02, -0.03, -0.011, 1, False),  # worse, surely
        (-0.2, -0.5, 0.1, 1, False),  # perhaps not, but by far too much
        (0.02, 0.011, 0.03, -1, False),  # the same of what is better when it is less
        (-0.2, -0.3, -0.1, -1, True),
        (float("nan"), float("nan"), float("nan"), 1, False),
    ],
)
def test_limits(value, low, high, better, passed):
    """Stopped: an interval wholly on the wrong side, a large step whatever the interval, and what cannot be told."""
    assert allowed(Interval(value, low, high), better, Limit(worse=0.01, most=0.1)) is passed


def test_the_worst_identity_group_counts():
    """A candidate that calls harmless texts of one group hateful is stopped, though it ranks the others as well."""
    random = np.random.default_rng(0)
    labels = np.array([0, 1] * 200)
    named = [frozenset(["muslim"] if n % 10 < 2 else []) for n in range(400)]
    serving = 0.6 * labels + 0.4 * random.random(400)
    unfair = np.where(np.array([bool(n) for n in named]), 0.9 + 0.1 * random.random(400), serving)
    (same,) = bias("groups", "hate", (serving, serving), labels, named, None, LIMITS)
    (worse,) = bias("groups", "hate", (unfair, serving), labels, named, None, LIMITS)
    assert same.passed
    assert not worse.passed
    assert worse.difference > 0.3


def lines(n=100, label=1):
    return [Line(f"text {label} {k}", "", {"hate": label}, {}) for k in range(n)]


def guard(bad, fine, **more):
    known = {line.prompt: bad for line in lines()} | {line.prompt: fine for line in lines(label=0)}
    return Scored(known, **more)


def test_over_refusal_stops():
    """A candidate that stops harmless texts is stopped, whatever it finds elsewhere."""
    harmless = lines(label=0)
    assert not over_refusal(guard(0.9, 0.6), guard(0.9, 0.1), "benign", harmless, LIMITS, {}).passed
    assert over_refusal(guard(0.9, 0.6), guard(0.9, 0.1), "benign", harmless, LIMITS, {"hate": 0.7}).passed


def test_a_lost_category_stops():
    """A candidate that no longer judges a category is stopped, and is not asked about it."""
    mute = guard(0.9, 0.1, categories=frozenset({"toxicity"}))
    outcome = measure_all(mute, guard(0.9, 0.1), {"posts": ("frozen", lines())}, LIMITS)
    assert not outcome.passed
    assert [c.name for c in outcome.checks if not c.passed] == ["covers"]


def test_slow_candidates_stop():
    """Latency is a ratio of turns taken with the serving guard; one that takes far longer is stopped."""

    class Slow(Scored):
        def judge(self, passages):
            for _ in range(20):
                np.linalg.norm(np.ones((200, 200)))
            return super().judge(passages)

    quick = guard(0.9, 0.1)
    passages = [Passage(line.prompt) for line in lines()]
    assert not latency(Slow(quick.by_text), quick, passages, LIMITS).passed
    assert set(quick.asked) == {1}


def test_nothing_measured_is_nothing_passed():
    """An outcome without a check has not passed, and says what was not checked."""
    assert not Outcome((), ("posts, hate: fewer than 30 rows of a label",)).passed
    outcome = measure_all(guard(0.9, 0.1), guard(0.9, 0.1), {"posts": ("frozen", lines(5))}, LIMITS)
    assert outcome.not_checked == ("posts, hate: fewer than 30 rows of a label",)


def test_report_holds_no_text():
    """Table, page and document say what stopped the candidate, and hold no text of a set."""
    known = {"posts": ("frozen", lines() + lines(label=0))}
    outcome = measure_all(guard(0.2, 0.1), guard(0.9, 0.1), known, LIMITS)
    page, table = html(outcome, {"name": "default", "version": "2"}), rows(outcome)
    assert table[1][0] == "STOPPED"
    assert "default 2: stopped" in page
    assert "text 1 7" not in page + json.dumps(outcome.document())
    assert json.loads(json.dumps(outcome.document()))["passed"] is False


def test_faults_of_thresholds_are_named(tmp_path):
    """A threshold that is none is refused with its place in the file."""
    path = tmp_path / "gates.yaml"
    path.write_text("ranking: {worse: -1, most: 0.1}\n")
    with pytest.raises(DataError, match=r"ranking\.worse"):
        gates.thresholds(path)
    assert isinstance(LIMITS, Thresholds)


def test_flipped_labels_are_stopped(train, data, trained, recipe_file, tmp_path):
    """With the labels of one category flipped a guard is stopped by that category, and the service refuses it."""
    told = [json.loads(line) for line in (data / "train" / "made_up.jsonl").read_text().splitlines()]
    for row in told:
        row["labels"] = {c: 1 - v if c == "harm" else v for c, v in row["labels"].items()}
    flipped = tmp_path / "data" / "train"
    flipped.mkdir(parents=True)
    (flipped / "made_up.jsonl").write_text("\n".join(map(json.dumps, told)))
    bad = tmp_path / "bad"
    given = ["--recipe", str(recipe_file), "--threads", "1", "--out", str(bad)]
    train("-m", "training.train_guard", *given, SLUICEGATE_DATA=str(flipped.parent))
    assert recipe.load(recipe_file).heads.keys() == {"harm", "response_harm"}
    program = "from training.cli import main; main()"
    sets = ["--frozen", f"made_up={data / 'train' / 'made_up.jsonl'}", "--against", str(trained)]
    stopped = train("-c", program, "promote", "check", str(bad), *sets, check=False)
    assert stopped.returncode == 3, stopped.stderr
    told_of = json.loads((bad / "lineage.json").read_text())["gates"]
    assert {c["category"] for c in told_of["checks"] if not c["passed"] and c["category"]} == {"harm"}
    assert refused_by_the_service(bad, tmp_path / "home") == 409
    equal = train("-c", program, "promote", "check", str(trained), *sets, "--out", str(tmp_path / "report"))
    assert "all gates passed" in equal.stdout
    assert (tmp_path / "report" / "report.html").is_file()


def refused_by_the_service(folder, home):
    """Registers a candidate at the real service and asks for its shadow; the status of the refusal."""
    policy = Policy.model_validate({"name": "test", "version": 1, "guards": ["words"], "input": {"harm": {}}})
    place = Path(shutil.copytree(folder, home / "registry" / "models" / "tiny" / "0.0.1"))
    with served(policy, [WordGuard({"harm": "bank"})], home=home, settings=Settings(home=home)) as running:
        service = Service(running.url, OPERATOR_KEY)
        assert promote.register(service, place)["stage"] == "registered"
        with pytest.raises(ServiceError, match="gates") as refused:
            promote.to_stage(service, "tiny@0.0.1", "shadow")
    return refused.value.status
