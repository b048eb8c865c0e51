"""Recipes and dialogues: what is wrong is said before anything is loaded."""

import json
from pathlib import Path

import pytest
from aiohttp import web

from tests.far_end import far_end
from training import document, llm_bias
from training.llm import dialogues, recipe
from training.llm.answers import Endpoint
from training.llm.dialogues import Example
from training.rows import DataError

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
KINDS = {
    "sft": recipe.Sft,
    "reward": recipe.Reward,
    "dpo": recipe.Dpo,
    "grpo": recipe.Grpo,
    "pretrain": recipe.Pretrain,
}
HELLO = [{"role": "user", "content": "Hello?"}]


@pytest.mark.parametrize("verb", KINDS)
@pytest.mark.parametrize("size", ["", "_8gpu"])
def test_shipped_recipes(verb, size):
    """Each verb has a small recipe and one for eight GPUs, and both are valid."""
    assert document.load(KINDS[verb], RECIPES / f"{verb}{size}.yaml").name


def test_faults_are_listed(tmp_path):
    """A bad recipe is refused with every fault in it, by name."""
    path = tmp_path / "bad.yaml"
    path.write_text("{name: x, version: 1.0.0, lr: 5, data: [], epoch: 1}")
    with pytest.raises(DataError) as error:
        document.load(recipe.Sft, path)
    assert all(word in str(error.value) for word in ("lr", "data", "epoch"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"licenses": ["see-source"]}, "may not enter weights"),
        ({"lora": {"layers": [0, 2]}}, "name the `targets`"),
        ({"rewards": [{"weight": 1}]}, "reward_model"),
    ],
)
def test_what_cannot_be(tmp_path, changed, said):
    """Licences that may not enter weights, layers without names and rewards of nothing are refused."""
    path = tmp_path / "bad.yaml"
    good = {"name": "x", "version": "1.0.0", "lr": 1e-4, "data": [{"file": "f"}], "rewards": [{"guard": "default"}]}
    path.write_text(json.dumps(good | changed))
    with pytest.raises(DataError, match=said):
        document.load(recipe.Grpo, path)


def test_unknown_field_of_trl():
    """What TRL's configuration does not have is refused by name."""
    made_by = recipe.Sft(name="x", version="1", lr=1e-4, data=({"file": "f"},), trl={"warmup_ratio": 0.1})
    with pytest.raises(DataError, match="warmup_ratio"):
        made_by.beyond({"warmup_steps"})


def test_digest_is_of_what_it_says():
    """The digest of a recipe changes with any value, and not with the order of licences."""
    one = recipe.Sft(name="x", version="1", lr=1e-4, data=({"file": "f"},))
    assert one.digest != one.model_copy(update={"seed": 8}).digest
    assert one.digest == recipe.Sft.model_validate_json(one.model_dump_json()).digest


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [*HELLO, {"role": "assistant", "content": "Hi."}]},
        {"prompt": "Hello?", "completion": "Hi."},
        {"prompt": HELLO, "completion": [{"role": "assistant", "content": "Hi."}]},
        {"prompt": "Hello?", "response": "Hi.", "labels": {"response_harm": 0}},
    ],
)
def test_forms_of_answers(row):
    """Chats, prompts with completions and our own rows all give the same dialogue and answer."""
    assert dialogues.example(row) == Example(tuple(HELLO), "Hi.")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hello?", "chosen": "Hi.", "rejected": "Away!"},
        {"prompt": HELLO, "chosen": [{"role": "assistant", "content": "Hi."}], "rejected": "Away!"},
        {"chosen": "\n\nHuman: Hello?\n\nAssistant: Hi.", "rejected": "\n\nHuman: Hello?\n\nAssistant: Away!"},
        {
            "chosen": [*HELLO, {"role": "assistant", "content": "Hi."}],
            "rejected": [*HELLO, {"role": "assistant", "content": "Away!"}],
        },
    ],
)
def test_forms_of_pairs(row):
    """TRL's forms of a pair and HH-RLHF's give the same pair."""
    assert dialogues.example(row) == Example(tuple(HELLO), "Hi.", "Away!")


def test_nobody_learns_harm():
    """An answer that was labelled harmful is not learnt, nor is a pair of one answer twice."""
    assert dialogues.example({"prompt": "a", "response": "b", "labels": {"response_harm": 1}}) is None
    assert not dialogues.example({"prompt": "a", "chosen": "b", "rejected": "b"}).worse


@pytest.mark.parametrize(
    "line",
    [
        '{"messages": [], "license": "MIT"}',
        '{"chosen": 3, "rejected": 4, "license": "MIT"}',
        '{"prompt": [{"role": "x", "content": ""}], "completion": "", "license": "MIT"}',
        "[]",
        "{",
    ],
)
def test_bad_lines_are_named(tmp_path, line):
    """A line of no known form is refused with file and number."""
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"prompt": "a", "completion": "b", "license": "MIT"}\n' + line.replace("}", ', "license": "MIT"}', 1)
    )
    with pytest.raises(DataError, match=r"rows\.jsonl:2"):
        dialogues.gather(_of(path))


def test_no_licence_no_entry(tmp_path):
    """A row without a licence is refused; one whose licence is not on the list stays out."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}')
    with pytest.raises(DataError, match="no licence"):
        dialogues.gather(_of(path))
    with pytest.raises(DataError, match="no examples"):
        dialogues.gather(_of(path, license="see-source"))


def test_split_by_group(tmp_path):
    """No group lies on both sides, and the same seed splits the same way."""
    rows = [{"prompt": f"p{n}", "completion": "c", "group": str(n % 20), "license": "MIT"} for n in range(200)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    train, held = dialogues.gather(_of(path))
    assert not {e.group for e in train} & {e.group for e in held}
    assert len(train) + len(held) == 200
    assert (train, held) == dialogues.gather(_of(path))
    assert dialogues.digest(train) == dialogues.digest(train[::-1]) != dialogues.digest(held)


def test_oldest_turns_go_first():
    """What is too long loses its oldest turns, never its answer; what still does not fit is counted."""

    def length(messages, answer):
        return sum(len(m["content"]) for m in messages) + len(answer)

    turns = tuple({"role": r, "content": c * 10} for r, c in (("user", "a"), ("assistant", "b"), ("user", "c")))
    kept, dropped = dialogues.fitted([Example(turns, "ok"), Example(turns, "x" * 50)], 20, length)
    assert [m["content"][0] for m in kept[0].messages] == ["c"]
    assert dropped == 1


def test_identities_that_ship():
    """Every group of every axis is asked the same number of things."""
    for axis in document.load(llm_bias.Identities, RECIPES / "identities.yaml").axes.values():
        assert len({len(axis.prompts(group)) for group in axis.groups}) == 1


def test_groups_of_different_requests_are_refused(tmp_path):
    """Groups that do not say the same requests cannot be compared."""
    path = tmp_path / "who.yaml"
    path.write_text("axes: {dialect: {groups: {a: [one, two], b: [one]}}}")
    with pytest.raises(DataError, match="all say the same"):
        document.load(llm_bias.Identities, path)


def _of(path, **more):
    return recipe.Sft(name="x", version="1", lr=1e-4, held=0.3, data=({"file": str(path)} | more,))


def test_a_version_of_a_dataset(tmp_path, monkeypatch):
    """Pairs of a dataset's version come with its split, and its digest is what the lineage names."""
    from training.dataset.build import build
    from training.dataset.recipe import recipe as dataset

    monkeypatch.setenv("SLUICEGATE_REGISTRY", str(tmp_path / "registry"))
    flowers = ("roses", "tulips", "lilies", "daisies", "orchids", "violets", "irises", "peonies", "asters", "poppies")
    rows = [
        {
            "prompt": [{"role": "user", "content": f"May I plant {f} next to {g}?"}],
            "chosen": [{"role": "assistant", "content": f"{f} like {g}"}], "group": f,
            "rejected": [{"role": "assistant", "content": f"{g} hate {f}"}], "source": "ours", "license": "MIT",
        }
        for f in flowers for g in flowers[:4] if f != g
    ]  # fmt: skip
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = build(dataset({"name": "pairs", "public": [str(path)], "kinds": ["pair"], "near": 1.0}))
    of_version = recipe.Dpo(name="x", version="1", lr=1e-4, data=({"dataset": f"pairs@{made.digest[:12]}"},))
    train, held = dialogues.gather(of_version, pairs=True)
    assert {e.split for e in train} == {"train"}
    assert {e.split for e in held} == {"validation"}
    assert dialogues.origins(of_version, train) == [made.digest]


async def answers(request: web.Request) -> web.Response:
    """Refuses one prompt as the gate does, breaks on another, and says of others how long they are."""
    said = (await request.json())["messages"][-1]["content"]
    refused = {"error": {"code": "content_filter"}}
    answer = {"choices": [{"message": {"content": f"{len(said)} "}}]}
    status, body = {"bad": (400, refused), "broken": (500, {"error": {}})}.get(said, (200, answer))
    return web.json_response(body, status=status)


def test_answers_through_an_endpoint():
    """Answers come in order; what the gate refuses is an empty one; any other fault ends the evaluation."""
    with far_end(answers) as url:
        endpoint = Endpoint(url, "m", 8)
        asked = [[{"role": "user", "content": c}] for c in ("four", "bad", "seven!!")]
        assert endpoint.answer(asked) == ["4", "", "7"]
        with pytest.raises(DataError, match="500"):
            endpoint.answer([[{"role": "user", "content": "broken"}]])
    with pytest.raises(DataError, match="no answer"):
        endpoint.answer(asked)
