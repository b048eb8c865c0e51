"""Versions of datasets: immutable, reproducible, without text, materialised from their feeds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from training.dataset import exchanges, load, materialise
from training.dataset.build import build
from training.dataset.cli import main
from training.dataset.feed import feed as read_feed
from training.dataset.recipe import recipe
from training.dataset.texts import materialised
from training.dataset.version import faults
from training.rows import DataError

CAPS = ("caller", "subject", "reviewer")
FLOWERS = ("roses", "tulips", "lilies", "daisies", "orchids", "violets", "irises", "peonies", "asters", "poppies")


def reviewed(n: int, text: str, **fields: object) -> dict[str, object]:
    """A row as `sluicegate review export` writes it."""
    row = {"id": f"exc_{n}:prompt", "kind": "prompt", "prompt": text, "labels": {"harm": n % 2}, "weight": 1.0}
    row |= {"distribution": {"harm": n % 2}, "source": "human", "reviewers": 1, "agreement": 1.0, "license": "private"}
    row |= {"group": f"conv_{n}", "exchange_id": f"exc_{n}", "item_id": f"item_{n}", "decisions": [f"dec_{n}"]}
    row |= {"caller": f"key_{n % 5}", "subject": f"sub_{n}", "state": "decided", "why": "flagged", "by": [f"r{n % 3}"]}
    return row | fields


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(autouse=True)
def _registry(tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICEGATE_REGISTRY", str(tmp_path / "registry"))


@pytest.fixture
def feed(tmp_path):
    """Forty reviewed prompts of ten conversations' kinds."""
    rows = [
        reviewed(n, f"how do I grow {FLOWERS[n % 10]} in the {n}th month: {chr(97 + n % 26) * 3}") for n in range(40)
    ]
    return write(tmp_path / "decisions.jsonl", rows)


@pytest.fixture
def public(tmp_path):
    """Ten public rows, in a folder."""
    rows = [
        {"prompt": f"please paint my {f} red and blue today", "labels": {"harm": 0}, "source": "ours", "license": "MIT"}
        for f in FLOWERS
    ]
    (tmp_path / "public").mkdir()
    write(tmp_path / "public" / "paint.jsonl", rows)
    return tmp_path / "public"


def of(*feeds: Path, public: Path | None = None, **more: object):
    given = {"name": "guards", "feeds": [str(f) for f in feeds], "public": [str(public)] if public else []}
    return recipe(given | more)


def test_the_same_feed_and_recipe_give_the_same_version(feed, public, tmp_path, monkeypatch):
    """Built again, elsewhere too and under another key, the digest is the same; another seed or row makes another."""
    made = build(of(feed, public=public))
    again = build(of(feed, public=public))
    assert (again.folder, again.manifest) == (made.folder, made.manifest)
    monkeypatch.setenv("SLUICEGATE_REGISTRY", str(tmp_path / "elsewhere"))
    elsewhere = build(of(feed, public=public))
    assert elsewhere.digest == made.digest
    assert elsewhere.items[0].key != made.items[0].key
    assert build(of(feed, public=public, seed=8)).digest != made.digest
    feed.write_text(feed.read_text() + json.dumps(reviewed(90, "a new text that nobody knew of")) + "\n")
    assert build(of(feed, public=public)).digest != made.digest


def test_a_version_holds_no_text(feed, public):
    """Manifest, items and cards hold ids and keyed hashes; no word of any text, no name of a reviewer or end user."""
    made = build(of(feed, public=public))
    held = "".join(path.read_text() for path in made.folder.iterdir())
    assert not [word for word in (*FLOWERS, "sub_3") if word in held]
    assert all(path.stat().st_mode & 0o222 == 0 for path in made.folder.iterdir())
    assert {"manifest.json", "items.jsonl", "card.md", "card.html"} == {path.name for path in made.folder.iterdir()}


def test_texts_come_back_with_their_labels(feed, public):
    """Materialised rows are those of the feeds, each once, in the split of its item."""
    made = build(of(feed, public=public))
    parts = materialise(made.folder)
    assert {part: len(rows) for part, rows in parts.items()} == made.manifest["splits"]
    rows = {row.extra["id"]: row for part in parts.values() for row in part}
    assert rows["exc_3:prompt"].text.startswith("how do I grow daisies")
    assert rows["exc_3:prompt"].labels == {"harm": 1}
    assert (rows["exc_3:prompt"].source, rows["paint.jsonl:1:prompt"].source) == ("human", "ours")
    assert len(rows) == len(made.items) == 50


def test_what_was_erased_is_missing_and_counted(feed, tmp_path):
    """A row that its feed no longer has is missing; one of another text is left out; both are counted."""
    made = build(of(feed))
    lines = feed.read_text().splitlines()
    changed = json.dumps(json.loads(lines[0]) | {"prompt": "another text"})
    moved = tmp_path / "moved.jsonl"
    moved.write_text("\n".join([changed, *lines[3:]]))
    feed.unlink()
    with pytest.raises(DataError, match="give where it is now"):
        materialised(made)
    found = materialised(made, [str(moved)])
    assert (len(found.examples), found.missing, found.changed) == (37, 2, 1)
    assert "2 missing" in found.told


def test_texts_of_another_key_are_not_taken_for_its_own(feed, tmp_path, monkeypatch):
    """Without the key that hashed them, no text is said to be of the version."""
    made = build(of(feed))
    monkeypatch.setenv("SLUICEGATE_REGISTRY", str(tmp_path / "elsewhere"))
    with pytest.raises(DataError, match="another key"):
        materialise(made.folder)


def test_a_line_ends_where_json_lines_end(tmp_path):
    """Line separators of Unicode inside a text or a group end no line."""
    text = "first\u2028second\x85third"
    path = tmp_path / "decisions.jsonl"
    path.write_text(json.dumps(reviewed(1, text, group="a\u2028b"), ensure_ascii=False) + "\n", encoding="utf-8")
    (row,) = (
        row for part in materialise(build(of(path, caps=dict.fromkeys(CAPS, 1.0))).folder).values() for row in part
    )
    assert (row.text, row.group) == (text, "a\u2028b")


def test_a_version_knows_its_exchanges(feed, public):
    """Every exchange whose text it holds is named, so that an erasure can name the version."""
    made = build(of(feed, public=public))
    assert exchanges(made) == sorted(f"exc_{n}" for n in range(40))


def test_leaks_are_dropped_or_stop_the_build(feed, tmp_path):
    """Texts of an evaluation set stay out and are counted; `on_leak: fail` makes nothing; a missing set is an error."""
    texts = [json.loads(line)["prompt"] for line in feed.read_text().splitlines()[:4]]
    held = write(
        tmp_path / "held.jsonl", [{"prompt": t, "labels": {"harm": 0}, "source": "s", "license": "MIT"} for t in texts]
    )
    made = build(of(feed, leakage={"sets": {"held": str(held)}}))
    assert made.manifest["left_out"]["leaks from held"] == made.manifest["leakage"][0]["found"] >= 4
    assert not {f"exc_{n}:prompt" for n in range(4)} & {item.id for item in made.items}
    with pytest.raises(DataError, match="on_leak"):
        build(of(feed, name="other", leakage={"sets": {"held": str(held)}, "on_leak": "fail"}))
    with pytest.raises(DataError, match="no such file"):
        build(of(feed, name="other", leakage={"sets": {"held": "nowhere.jsonl"}}))
    assert not (made.folder.parents[1] / "other").exists()


def test_a_changed_version_is_found_out(feed):
    """An item edited on disk fails `data verify`, as does one put in."""
    made = build(of(feed))
    assert faults(made) == []
    path = made.folder / "items.jsonl"
    path.chmod(0o644)
    path.write_text(path.read_text().replace('"harm": 1}, "license"', '"harm": 0}, "license"', 1))
    assert len(faults(load(made.folder))) == 2
    with pytest.raises(DataError, match="do not train on it"):
        main(["verify", str(made.folder)])


ODD = '{"id": "a", "kind": "prompt", "prompt": "b", "source": "human", "license": "MIT", "reviewers": ["c"]}'


@pytest.mark.parametrize(
    ("fault", "row"),
    [
        ("not JSON", "{"),
        ("not a row of the review feed", '{"id": "a"}'),
        ("not a row of the review feed", ODD),
        ("not an object", "[]"),
    ],
)
def test_a_bad_feed_names_the_line_and_makes_nothing(feed, tmp_path, fault, row):
    """The file, the line and the fault are named, and the registry stays as it was."""
    feed.write_text(feed.read_text() + row + "\n")
    with pytest.raises(DataError, match=rf"decisions\.jsonl:41: {fault}"):
        build(of(feed))
    assert not (tmp_path / "registry").exists()


@pytest.mark.parametrize(
    ("name", "body", "fault"),
    [("a.jsonl", b"\xff\n", "is not UTF-8"), ("a.jsonl.gz", b"\x1f\x8b\x08", "cannot be read")],
)
def test_what_is_no_text_is_said(tmp_path, name, body, fault):
    """A file that is not UTF-8, or not whole, is named."""
    (tmp_path / name).write_bytes(body)
    with pytest.raises(DataError, match=rf"{name}: {fault}"):
        read_feed(str(tmp_path / name))


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"name": "A b"}, "name"),
        ({"split": {"shares": {"train": 0.5, "test": 0.4}}}, "add up"),
        ({"feeds": []}, "nothing to build from"),
        ({"kinds": ["essay"]}, "kinds"),
        ({"speed": 3}, "speed"),
    ],
)
def test_a_bad_recipe_is_told(given, fault):
    """Each fault of a recipe is named before anything is read."""
    with pytest.raises(DataError, match=fault):
        recipe({"name": "guards", "feeds": ["decisions.jsonl"]} | given)


def test_the_command_line(feed, public, tmp_path, capsys):
    """Build, list, show, card, materialise, diff: from options and from a recipe."""
    main(["build", "--name", "guards", "--feed", str(feed)])
    file = tmp_path / "recipe.yaml"
    file.write_text(f"name: guards\nfeeds: [{feed}]\npublic: [{public}]\n")
    main(["build", str(file), "--seed", "9"])
    main(["list"])
    assert capsys.readouterr().out.count("guards@") == 4
    one, other = sorted(path.name for path in (tmp_path / "registry" / "datasets" / "guards").iterdir())
    main(["diff", f"guards@{one[:6]}", f"guards@{other}"])
    assert "in both: 40" in capsys.readouterr().out
    main(["show", "guards"])
    assert "ours 10" in capsys.readouterr().out
    main(["card", "guards", "--html", str(tmp_path / "card.html")])
    assert "<img" in (tmp_path / "card.html").read_text()
    main(["materialise", "guards", "--out", str(tmp_path / "rows")])
    rows = [json.loads(line) for path in (tmp_path / "rows").iterdir() for line in path.read_text().splitlines()]
    assert len(rows) == 50
    with pytest.raises(DataError, match="no such dataset"):
        main(["show", "nothing"])


def test_errors_are_one_line_for_people(tmp_path):
    """The command says what is wrong in one line, with exit code 2 and no traceback."""
    command = [sys.executable, "-m", "training.dataset.cli", "--help"]
    assert "sluicegate-train data build" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    binary = Path(sys.executable).with_name("sluicegate-train")
    done = subprocess.run([binary, "data", "show", "nothing"], capture_output=True, text=True, check=False)
    assert (done.returncode, "no such dataset" in done.stderr, "Traceback" in done.stderr) == (2, True, False)
