"""The bench of the relay alone, on its real processes, at a small count."""

import json

import pytest

from bench import report
from bench.load import Job, Load
from bench.relay import Size, measure, process


async def test_every_side_is_measured():
    """Each side relays every chunk of every stream, and its CPU time is compared with the bare relay's."""
    figures = await measure(Size(streams=2, chunks=40, pace=400, rounds=2))
    for side in ("bare_again", "gateway", "gateway_segment_per_chunk"):
        ratio = figures[side]["ratio_to_bare"]
        assert 0.1 < ratio["low"] <= ratio["value"] <= ratio["high"] < 100
        assert figures[side]["us_per_chunk"] > 1


async def test_source_keeps_its_pace():
    """The source speaks vLLM's format, a chunk each 1/pace seconds, so that chunks are relayed one by one."""
    async with process("bench.source", "--pace", "100") as source, Load() as load:
        body = {"model": "bench", "messages": [], "max_tokens": 30}
        done = await load.run(Job(source.url, [body] * 3, streams=3))
    assert [a.tokens for a in done.answers] == [30, 30, 30]
    for answer in done.answers:
        assert answer.finish == "length"
        assert len(answer.arrivals) > 25
        assert answer.end_s > 0.25


async def test_failures_are_no_figures():
    """A round in which an answer failed counts for nothing."""
    async with process("bench.source") as source, Load() as load:
        with pytest.raises(RuntimeError, match="1 of 1 answers failed, the first: HTTP 404"):
            await load.run(Job(source.url + "/nowhere", [{}], streams=1))


async def test_a_process_that_cannot_start():
    """When a part of the bench does not start, its own words say why."""
    with pytest.raises(RuntimeError, match="--engine-url"):
        async with process("bench.bare"):
            pass


def test_results_tell_no_secrets(tmp_path):
    """A results file has revision, command and kind of machine, and neither host names nor paths."""
    path = report.write("some", "make bench", {"figure": 1.5}, folder=tmp_path)
    document = json.loads(path.read_text())
    assert document["figure"] == 1.5
    assert set(document) == {"revision", "command", "machine", "figure"}
    assert "/" not in json.dumps(document["machine"])
