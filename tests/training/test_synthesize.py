"""Rows made by machine tell what a text says, not how it is written."""

import gzip
import json
import os
from collections import defaultdict
from pathlib import Path
from random import Random

import pytest
import yaml

from training.near import Seen
from training.rows import LICENSES
from training.synthesize import PAIR, TEMPLATES, Filling, load, synthesize, typed

PROVE = os.environ.get("SLUICEGATE_PROVE") == "1"
SLOTS, BLOCKS = load()
ROWS = synthesize(400 if PROVE else 60, seed=1)
DEV = Path(os.environ.get("SLUICEGATE_DATA") or "../shared/data") / "dev"


def names(block):
    return block["name"]


def test_rows_are_marked():
    """Every row says that a machine made it, has an allowed licence, a group and labels, and no open slot."""
    assert {r.source for r in ROWS} == {"machine"}
    assert {r.license for r in ROWS} <= LICENSES
    assert all(r.group and r.labels and r.text.strip() for r in ROWS)
    assert not [r.text for r in ROWS if any("{" + slot + "}" in r.text + r.prompt for slot in SLOTS)]


def test_the_same_seed_gives_the_same_rows():
    """Rows depend on count and seed alone."""
    assert synthesize(9, seed=4) == synthesize(9, seed=4)
    assert synthesize(9, seed=4) != synthesize(9, seed=5)


@pytest.mark.parametrize("block", BLOCKS, ids=names)
def test_a_block_fits_where_it_is_used(block):
    """Blocks of answers carry no label about prompts, blocks of prompts none about answers."""
    for labels in [block.get("labels", {})] + [side["labels"] for side in block.get("sides", [])]:
        assert not (block.get("response") and {"harm", "injection"} & labels.keys())
        assert block.get("response") or "response_harm" not in labels


@pytest.mark.parametrize("block", [b for b in BLOCKS if "sides" in b], ids=names)
def test_both_sides_share_every_template(block):
    """The sides differ in one label at least, come equally often, and no template needs the slots of one side only."""
    first, second = block["sides"]
    assert any(first["labels"].get(c) not in (None, v) for c, v in second["labels"].items())
    assert first["slots"].keys() == second["slots"].keys()
    own = set(first["slots"])
    assert all(any("{" + slot in template for slot in own) for template in block["templates"])


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: p.stem)
def test_a_theme_has_both_labels(path):
    """No file holds one label only, so that its style and vocabulary alone decide nothing."""
    body, found = path.read_text(encoding="utf-8"), defaultdict(set)
    for block in yaml.safe_load(body)["blocks"]:
        for labels in [block.get("labels", {})] + [side["labels"] for side in block.get("sides", [])]:
            for category, label in labels.items():
                found[category].add(label)
    assert any(len(found[c]) == 2 for c in ("harm", "response_harm", "injection"))
    assert len(body.splitlines()) < 400


@pytest.mark.parametrize("block", BLOCKS, ids=names)
def test_templates_are_not_variants_of_each_other(block):
    """No two templates or fillings of a block nearly say the same (word 4-grams, Jaccard .5)."""
    for texts in [block["templates"]] + [v for side in block.get("sides", []) for v in side["slots"].values()]:
        seen = Seen()
        for text in texts:
            assert (seen.near(text), text) == (None, text)
            seen.add(text)


def test_a_text_has_one_label():
    """No text is harmless in one row and harmful in another."""
    labels = defaultdict(set)
    for row in ROWS:
        for category, label in row.labels.items():
            labels[row.text.casefold(), row.prompt, row.is_response, category].add(label)
    assert not [key for key, found in labels.items() if len(found) > 1]


@pytest.mark.data
@pytest.mark.skipif(not DEV.is_dir(), reason="no shared data: set SLUICEGATE_DATA")
@pytest.mark.parametrize("name", ["hatecheck", "ailuminate_demo", "identity_templates"])
def test_no_row_is_near_a_development_set(name):
    """Nothing made by machine nearly equals what thresholds and audits are measured on."""
    seen = Seen()
    with gzip.open(DEV / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            seen.add(json.loads(line)["prompt"])
    assert not [(r.text, near) for r in ROWS if (near := seen.near(r.text))]


def test_a_name_stands_for_one_filling():
    """One slot is filled the same in prompt and answer; a numbered slot is filled with something else."""
    filling = Filling({"fruit": ["fig", "plum"], "eat": ["eat a {fruit}"]}, Random(1))
    asked, answer = filling("How do I {eat}?"), filling("Wash the {fruit}, not the {fruit2}.")
    fruit = asked.removeprefix("How do I eat a ").rstrip("?")
    assert answer.startswith(f"Wash the {fruit}, ")
    assert {fruit, answer.removesuffix(".").rpartition(" ")[2]} == {"fig", "plum"}


def test_a_pair_is_a_prompt_and_its_answer():
    """Rows of question and answer carry both, each on its side of the arrow, with no arrow left in them."""
    pairs = [r for r in ROWS if r.is_response and r.group.count(PAIR)]
    assert len(pairs) > 50
    assert all(r.prompt and r.text and PAIR not in r.prompt + r.text for r in pairs)
    assert {r.labels["response_harm"] for r in pairs} == {0, 1}


def test_haste_and_slips_keep_the_text_readable():
    """A text that is typed in haste loses at most a few characters; three in five stay as they are."""
    text = "Could you please tell me why the sky is blue?"
    made = [typed(text, Random(seed)) for seed in range(300)]
    assert all(abs(len(m) - len(text)) < 15 for m in made)
    assert 140 < sum(m == text for m in made) < 220
    assert len(set(made)) > 20


def test_two_files_may_not_fill_the_same_slot(tmp_path):
    """A slot or block that stands in two files is refused by name."""
    for name in ("machine_a.yaml", "machine_b.yaml"):
        (tmp_path / name).write_text("slots: {x: [y]}\nblocks: []\n")
    with pytest.raises(ValueError, match=r"machine_b.yaml: \['x'\] stands in another file"):
        load(sorted(tmp_path.iterdir()))
