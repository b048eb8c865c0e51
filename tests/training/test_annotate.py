"""Labels by a language model, and how far people agree with them."""

import json

import pytest
from aiohttp import web
from sklearn.metrics import cohen_kappa_score

from tests.far_end import far_end
from training import annotate
from training.annotate import kappa, main, proposed, sampled
from training.rows import DataError


@pytest.fixture
def judge():
    """Says 1 of what holds `bad`, rambles over what holds `odd`, and else 0."""

    async def answer(request: web.Request) -> web.Response:
        asked = (await request.json())["messages"][0]["content"]
        text = asked.partition("<text>")[2].partition("</text>")[0]
        said = "Well, it depends." if "odd" in text else f'Sure: {{"label": {int("bad" in text)}, "why": "so"}}'
        return web.json_response({"choices": [{"message": {"content": said}}]})

    with far_end(answer) as url:
        yield url


def written(path, rows):
    path.write_text("".join(json.dumps({"source": "ours", "license": "MIT", "labels": {}} | r) + "\n" for r in rows))
    return str(path)


def test_from_proposals_to_agreement(judge, tmp_path, capsys):
    """Rows get labels, reasons and the judge's name; what cannot be read gets none; people's sample gives a kappa."""
    texts = [f"{('bad', 'fine')[n % 2]} {n}" for n in range(24)] + ["odd one"]
    rows, out = written(tmp_path / "rows.jsonl", [{"prompt": t} for t in texts]), tmp_path / "out.jsonl"
    main(["propose", rows, "--url", judge, "--judge", "big-1", "--sample", "12", "--out", str(out)])
    assert "24 of 25 labelled: {'0': 12, '1': 12, 'unreadable': 1}; 12 for people" in capsys.readouterr().out
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert all(r["labels"]["harm"] == int("bad" in r["prompt"]) and r["source"] == "machine" for r in found)
    assert found[0]["annotated_by"] == {"judge": "big-1", "prompt": annotate.DIGEST, "category": "harm", "why": "so"}
    named = [r for r in found if r["for_people"]]
    assert sum(r["labels"]["harm"] for r in named) == 6
    labels = [r["labels"]["harm"] for r in named]
    labels[0] = 1 - labels[0]
    said = [{"prompt": r["prompt"], "labels": {"harm": n}} for r, n in zip(named, labels, strict=True)]
    main(["agree", str(out), "--humans", written(tmp_path / "humans.jsonl", said)])
    assert "12 rows: Cohen's kappa 0.833" in capsys.readouterr().out


def test_kappa_is_that_of_scikit_learn():
    """The same figure as the library's, inside its interval; too few rows and one label alone say nothing."""
    machine, people = [0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0], [0, 1, 0, 0, 1, 0, 1, 1, 1, 0, 0, 0]
    found = kappa(machine, people)
    assert found.value == pytest.approx(cohen_kappa_score(machine, people))
    assert found.low < found.value < found.high
    with pytest.raises(DataError, match="fewer than 10"):
        kappa(machine[:5], people[:5])
    with pytest.raises(DataError, match="one label"):
        kappa([0] * 12, [0] * 12)


@pytest.mark.parametrize(
    "said", ["", "yes", '{"label": 2}', '{"label": true}', '{"why": "x"}', "[1]", '{"label": "1"}']
)
def test_what_cannot_be_read_is_no_label(said):
    """Anything but a 0 or 1 in JSON is unreadable; it is never taken for harmless."""
    assert proposed(said) is None


def test_the_sample_is_of_both_answers():
    """Both labels come in the share that they have, and one that is rare comes at all."""
    rows = [{"labels": {"harm": int(n < 3)}} for n in range(60)]
    chosen = sampled(rows, "harm", 20, 7)
    assert sum(n < 3 for n in chosen) == 1
    assert len(chosen) == 20
    assert sampled(rows, "harm", 500, 7) == set(range(60))


def test_a_row_without_its_text_is_an_error(judge, tmp_path):
    """A category of answers wants answers: nothing is written for rows that have none."""
    rows = written(tmp_path / "rows.jsonl", [{"prompt": "hello"}])
    given = ["--url", judge, "--judge", "j", "--category", "response_harm", "--out", str(tmp_path / "out.jsonl")]
    with pytest.raises(DataError, match="no response"):
        main(["propose", rows, *given])
    assert not (tmp_path / "out.jsonl").exists()
