"""Labels that are likely wrong."""

import json
from random import Random

GOOD, BAD = ["bake bread", "grow basil", "fix a bike", "learn chess"], ["rob a bank", "forge a cheque", "burn a shop"]


def made(planted):
    """Four hundred rows; the labels of those in `planted` are turned."""
    random, rows = Random(3), []
    for n in range(400):
        label = n % 2
        text = (
            f"How do I {random.choice(BAD if label else GOOD)} in {random.choice(['May', 'June', 'town'])}, case {n}?"
        )
        rows.append({"prompt": text, "labels": {"harm": label ^ (n in planted)}, "source": "ours", "license": "MIT"})
    return rows


def test_planted_noise_is_found(train, tmp_path):
    """Of six labels that were turned most are found, and none that was not; those rows go apart and no row is lost."""
    planted = {3, 20, 41, 58, 77, 90}
    rows = made(planted)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    out = ["--out", str(tmp_path / "kept.jsonl"), "--doubtful", str(tmp_path / "doubtful.jsonl")]
    said = train("-m", "training.noise", str(tmp_path / "rows.jsonl"), *out).stdout
    kept, apart = (
        [json.loads(x) for x in (tmp_path / f).read_text().splitlines()] for f in ("kept.jsonl", "doubtful.jsonl")
    )
    turned = {rows[n]["prompt"] for n in planted}
    found = {r["prompt"] for r in apart}
    assert found <= turned
    assert len(found) >= 4
    assert sorted(r["prompt"] for r in kept + apart) == sorted(r["prompt"] for r in rows)
    assert f"{len(found)} of 400 labels are doubtful" in said


def test_too_few_rows_of_a_label_are_an_error(train):
    """With hardly any row of a label nothing is called noise: a clear line says so."""
    program = "from training.noise import doubtful; doubtful(['a'] * 30, [0] * 29 + [1], ['g'] * 30)"
    assert "fewer than 10 rows of a label" in train("-c", program, check=False).stderr
