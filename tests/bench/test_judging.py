"""The bench of the batcher, on the real guard, at a small count."""

from bench.judging import GUARD, Size, Texts, measure


async def test_both_sides_are_measured():
    """The batcher and the bare call judge texts of the same length, alone and in a queue, and are compared."""
    figures = await measure(Size(lengths=(16, 300), singles=2, queue=4, rounds=2), "openvino")
    for row in figures["tokens"].values():
        for name in ("single_to_bare", "queue_to_bare", "gain_of_batches"):
            assert 0.05 < row[name]["low"] <= row[name]["value"] <= row[name]["high"] < 50
    assert figures["tokens"]["300"]["bare_single_ms"] > figures["tokens"]["16"]["bare_single_ms"]


def test_texts_are_as_long_as_asked_and_all_different():
    """A text of so many tokens has them, the special ones included; none comes twice."""
    texts = Texts(GUARD)
    for tokens in (16, 120):
        some = texts.of(tokens, 50)
        assert len({*some}) == 50
        assert {len(texts._tokenizer.encode(t).ids) for t in some} == {tokens}
