"""What `top` makes of two readings, against Prometheus' own client on the same numbers; `loadtest` and the bundle."""

import asyncio
import json
import math
import os
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from typer.testing import CliRunner

from guards.policy import DEFAULT_POLICY, load
from guards.trigger import TriggerGuard, trigger
from service.cli.main import app
from service.operating.figures import Reading, quantile, rates, read
from service.settings import Settings
from tests.fakes import ScriptedEngine, text_deltas
from tests.serving import KEY, OPERATOR_KEY, served

BOUNDS = (0.1, 1.0, 10.0)


def exposed(values):
    registry = CollectorRegistry()
    histogram = Histogram("sluicegate_x_seconds", "x", buckets=BOUNDS, registry=registry)
    counter = Counter("sluicegate_y", "y", ["outcome"], registry=registry)
    for value in values:
        histogram.observe(value)
        counter.labels("big" if value > 1 else "small").inc()
    return generate_latest(registry).decode()


@given(st.lists(st.floats(0.001, 20), min_size=1, max_size=50), st.floats(0.01, 0.99))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values, q):
    """Whatever was observed, the quantile is within the bucket that holds the value of that rank."""
    got = quantile(read(exposed([])), read(exposed(values)), "sluicegate_x_seconds", q)
    true = sorted(values)[max(math.ceil(q * len(values)) - 1, 0)]
    low = max((b for b in (0.0, *BOUNDS) if b < true), default=0.0)
    high = min((b for b in BOUNDS if b >= true), default=BOUNDS[-1])
    assert low - 1e-9 <= got <= high + 1e-9


def test_rates_are_increases_by_time():
    """Two readings two seconds apart: increases are halved; a counter that began anew counts from nothing."""
    then, now = read(exposed([5, 5, 0.5])), read(exposed([5, 5, 5, 5, 5, 5]))
    now = Reading(now.samples, then.at + 2)
    assert rates(then, now, "sluicegate_y_total", "outcome") == {"big": 2.0}
    anew = Reading(read(exposed([5])).samples, then.at + 1)
    assert rates(then, anew, "sluicegate_y_total", "outcome") == {"big": 1.0}


def test_nothing_observed_is_no_number():
    """A quantile of nothing is NaN, and an exposition of something else is refused."""
    same = read(exposed([1.0]))
    assert math.isnan(quantile(same, same, "sluicegate_x_seconds", 0.5))
    with pytest.raises(ValueError, match="no metrics of a gateway"):
        read("python_info 1\n")


@pytest.fixture(scope="module")
def service():
    """A gateway that answers harmless prompts, with the trigger guard and the policy that ships."""
    policy = load(DEFAULT_POLICY).model_copy(update={"guards": ("triggers",)})
    engine = ScriptedEngine(text_deltas("All is well here, and the sun shines.", 5))
    with served(policy, [TriggerGuard()], engine) as it:
        yield it


def test_top_shows_the_running_service(service):
    """`top --once` tells the state and rates of a gateway; a wrong key is a clear error."""
    shown = CliRunner().invoke(app, ["top", "--once", "--every", "0.3", "--url", service.url, "--key", OPERATOR_KEY])
    assert shown.exit_code == 0, shown.output
    for word in ("in flight", "exchanges", "spool", "review"):
        assert word in shown.output
    refused = CliRunner().invoke(app, ["top", "--once", "--url", service.url, "--key", "sg-wrong"])
    assert refused.exit_code == 1
    assert "operator" in refused.output


def test_loadtest_tells_what_callers_see(service, tmp_path):
    """Answers are timed; what the policy refuses is counted apart and is no failure; a wrong key is one."""
    prompts = tmp_path / "prompts"
    prompts.write_text(f"hello\n{trigger('harm')}\n")
    words = ["loadtest", "m", "--url", service.url, "--seconds", "0.5", "--streams", "2", "--json"]
    done = CliRunner().invoke(app, [*words, "--key", KEY, "--prompts", str(prompts)])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["outcomes"]["ok"] > 0
    assert found["outcomes"]["content_filter"] > 0
    assert found["first_content_s"]["p50"] <= found["answer_s"]["p99"]
    assert sum(found["outcomes"].values()) == found["requests"]
    wrong = CliRunner().invoke(app, [*words, "--key", "sg-wrong"])
    assert wrong.exit_code == 1


def test_loadtest_keeps_to_its_rate(service):
    """With `--rate 10` for a second about ten requests are sent, however fast they are answered."""
    words = ["loadtest", "m", "--url", service.url, "--seconds", "1", "--rate", "10", "--json", "--key", KEY]
    done = CliRunner().invoke(app, words)
    assert 5 <= json.loads(done.stdout.splitlines()[-1])["requests"] <= 11


def test_a_support_bundle_holds_no_secret_and_no_text(tmp_path, monkeypatch):
    """Nothing of keys, passwords and texts that are on the machine is in the bundle, and only its owner may read it."""
    from service.ledger.ledger import SqlLedger
    from tests.store.events import SECRET, flagged, new_id

    for name in [n for n in os.environ if n.startswith("SLUICEGATE_")]:
        monkeypatch.delenv(name)
    canaries = {"client_key": "sg-canary-client", "admin_key": "sg-canary-admin", "engine_key": "canary-engine"}
    canaries |= {"engine_args": "--api-key canary-args", "engine_url": "http://user:canary-url@127.0.0.1:9"}
    for name, value in (canaries | {"home": str(tmp_path)}).items():
        monkeypatch.setenv(f"SLUICEGATE_{name.upper()}", value)

    async def keep():
        ledger = SqlLedger(Settings(home=tmp_path))
        await ledger.start()
        exchange = new_id()
        for event in flagged(exchange):
            await ledger.commit(event)
        await ledger.drain(20)
        await ledger.stop()

    asyncio.run(keep())
    out = tmp_path / "support.tar.gz"
    done = CliRunner().invoke(app, ["support", "--out", str(out), "--url", "http://127.0.0.1:9"])
    assert done.exit_code == 0, done.output
    assert out.stat().st_mode & 0o077 == 0
    with tarfile.open(out) as tar:
        held = {m.name: tar.extractfile(m).read().decode() for m in tar.getmembers()}
    assert len(held) == 5
    everything = "".join(held.values())
    for canary in ("canary", SECRET, (tmp_path / "master.key").read_text().strip()):
        assert canary not in everything
    assert CliRunner().invoke(app, ["support", "--out", str(out)]).exit_code == 1
