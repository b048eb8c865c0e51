"""Which engine takes a request: favourites, bounds, failures."""

from hypothesis import given
from hypothesis import strategies as st

from service.engine.choosing import BOUND, SPARE_TOKENS, Seen, choose, cost_of, prefix_of

NAMES = ["a:8000", "b:8000", "c:8000", "d:8000", "e:8000"]
seen = st.builds(Seen, st.sampled_from(NAMES), st.integers(0, 50_000), st.booleans())
engines = st.lists(seen, min_size=1, max_size=5, unique_by=lambda e: e.name)
prefixes = st.binary(max_size=64)
costs = st.integers(1, 20_000)


@given(engines, prefixes, costs, st.sets(st.sampled_from(NAMES)))
def test_only_what_is_up_and_untried(known, prefix, cost, tried):
    """An engine that is down is asked only when every untried one is; one that was tried never again."""
    name = choose(known, prefix, cost, tried)
    left = [e for e in known if e.name not in tried]
    if name is None:
        assert not left
    else:
        chosen = next(e for e in left if e.name == name)
        assert chosen.up or not any(e.up for e in left)


@given(engines, prefixes, costs)
def test_bounded(known, prefix, cost):
    """Whoever is chosen is within the bound of the mean, or has little to do, or less than everybody else."""
    able = [e for e in known if e.up] or known
    chosen = next(e for e in known if e.name == choose(known, prefix, cost))
    mean = (sum(e.tokens for e in able) + cost) / len(able)
    within = chosen.tokens + cost <= max(SPARE_TOKENS, BOUND * mean)
    assert within or chosen.tokens == min(e.tokens for e in able)


@given(prefixes, st.permutations(NAMES), st.sampled_from(NAMES))
def test_affinity(prefix, order, gone):
    """What begins alike goes to the same engine in any order of them, and moves only when its own is gone."""
    favourite = choose([Seen(n) for n in NAMES], prefix, 1)
    assert choose([Seen(n) for n in order], prefix, 1) == favourite
    without = choose([Seen(n) for n in order if n != gone], prefix, 1)
    assert without != favourite if gone == favourite else without == favourite


def test_beginnings_are_spread():
    """A thousand different beginnings are shared out about evenly."""
    chosen = [choose([Seen(n) for n in NAMES], prefix_of("t", {"prompt": str(i)}), 1) for i in range(1000)]
    assert all(120 < chosen.count(name) < 280 for name in NAMES)


@given(st.lists(st.integers(1, 4000), min_size=30, max_size=120))
def test_one_prefix_does_not_drown_an_engine(sizes):
    """However many requests share one beginning, no engine has much more to do than the others."""
    loads = dict.fromkeys(NAMES, 0)
    for size in sizes:
        loads[choose([Seen(n, t) for n, t in loads.items()], b"same", size)] += size
    assert max(loads.values()) <= max(SPARE_TOKENS, BOUND * sum(loads.values()) / len(NAMES)) + max(sizes)


def test_a_conversation_keeps_its_prefix():
    """Later turns change nothing; another tenant, other instructions or another first turn do."""
    system, first = {"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}
    later = [{"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "And now?"}]
    prefix = prefix_of("t", {"messages": [system, first]})
    assert prefix_of("t", {"messages": [system, first, *later]}) == prefix
    assert prefix_of("u", {"messages": [system, first]}) != prefix
    assert prefix_of("t", {"messages": [first]}) != prefix
    assert prefix_of("t", {"messages": [system, later[1]]}) != prefix


def test_cost():
    """What is read and what may be written counts, for each choice."""
    body = {"messages": [{"role": "user", "content": "x" * 400}]}
    assert 600 < cost_of(body) < 640
    assert cost_of(body | {"max_tokens": 100, "n": 3}) == cost_of(body) - 512 + 300
    assert cost_of({"input": ["x" * 400]}) < 110
