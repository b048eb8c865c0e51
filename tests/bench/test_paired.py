"""The bench beside raw vLLM: what it makes of rounds, and once for real."""

import os

import pytest

from bench import paired, relay
from bench.flops import judged
from bench.load import Answer, Load, Round
from bench.paired import QUICK, ROWS, Paired, Size, figures, measure, table
from bench.prompts import PROMPTS
from bench.sides import both
from guards.policy import load

PROVE = os.environ.get("SLUICEGATE_PROVE") == "1"


def answer(body, first_s, tokens=10, slower=1.0):
    arrivals = [(first_s + 0.1 * i * slower, 8 * (i + 1)) for i in range(tokens)]
    return Answer(body, arrivals, arrivals[-1][0], tokens, prompt_tokens=5, text="x" * 8 * tokens, finish="length")


def rounds(first_s, slower=1.0, count=3):
    return [Round(2.0 * slower, 0.1, [answer(n, first_s, slower=slower) for n in range(4)]) for _ in range(count)]


def test_figures_of_known_rounds():
    """Ratios are ours to vLLM's: first content, the moment of the text needed, time per token, speed."""
    out = figures(Paired(rounds(0.6, 1.5), rounds(0.2)), needed_chars=32)
    assert out["first_content_p50"]["value"] == 3.0
    assert out["first_content_to_text_needed_p50"]["value"] == pytest.approx(0.6 / 0.5, rel=1e-3)
    assert out["per_token_p50"]["value"] == pytest.approx(1.95 / 1.1, rel=1e-3)
    assert out["tokens_per_s"]["value"] == pytest.approx(1 / 1.5, rel=1e-3)
    assert (out["compared_share"], out["load_cpu_share"]) == (1.0, 0.05)


def test_only_equal_lengths_are_compared():
    """Answers with other token counts on the two sides are left out, and how many were compared is said."""
    ours, bare = rounds(0.4), rounds(0.2)
    for side in ours:
        side.answers[0] = answer(0, 50.0, tokens=9)
    out = figures(Paired(ours, bare), needed_chars=32)
    assert out["first_content_p99"]["value"] == 2.0
    assert out["compared_share"] == 0.75


def test_nothing_to_compare_is_an_error():
    """When no answer has the same length on both sides there is no figure."""
    with pytest.raises(RuntimeError, match="same number of tokens"):
        figures(Paired([Round(1, 0, [answer(0, 1, 9)])], [Round(1, 0, [answer(0, 1)])]), 32)


def test_table_has_every_figure():
    """The table for the README has a row for each figure and a column for each number of streams."""
    figure = figures(Paired(rounds(0.6), rounds(0.2)), 32)
    shown = table({"streams": {"1": figure | {"vllm_to_itself": figure}, "8": figure | {"vllm_to_itself": figure}}})
    assert all(f"| {words} |" in shown for words in ROWS.values())
    assert {line.count("|") for line in shown.splitlines()} == {4}
    assert "3.00 (3.00 to 3.00)" in shown


def test_prompts_fill_every_stream():
    """There are thirty prompts, none twice, and every stream of every size has at least two."""
    assert len(set(PROMPTS)) == 30
    assert all(len(Size().prompts(streams)) >= max(2 * streams, 6) for streams in Size().streams)


def test_judged_passages_follow_the_gate():
    """Computing is counted over what the gate judges: the prompt, then segments that grow behind the lookahead."""
    prompt, *segments = judged("Why?", "y" * 400, load())
    assert (prompt.text, prompt.kind) == ("Why?", "prompt")
    reached = [len(s.text) for s in segments]
    assert reached[0] == 32
    assert reached[-1] == 400
    assert all(s.since <= reached[i - 1] for i, s in enumerate(segments) if i)


def test_arguments():
    """Full counts are the default; a gateway without the vLLM behind it cannot be compared."""
    assert paired.arguments([]).rounds == Size().rounds
    assert relay.arguments([]).rounds == relay.Size().rounds
    with pytest.raises(SystemExit):
        paired.arguments(["--url", "http://127.0.0.1:1"])


@pytest.mark.engine
@pytest.mark.timeout(1800 if PROVE else 600)
async def test_bench_runs_on_the_real_engine(engine):
    """The whole bench runs against a real vLLM and gives a figure for every row, both sides having said the same."""
    size = Size(rounds=2, same_rounds=1) if PROVE else QUICK
    async with both(None, None, engine.url, engine.key, print) as sides, Load():
        document = await measure(sides, size, load())
    for figures_of in document["streams"].values():
        assert figures_of["compared_share"] >= 0.5
        assert all(0 < figures_of[row]["value"] < 100 for row in ROWS)
        assert 0 < figures_of["load_cpu_share"] < 0.5
    assert table(document).count("\n") >= len(ROWS) + 2
