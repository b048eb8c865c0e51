"""Public data, brought from a server on this machine that plays its makers'."""

import gzip
import json

import pytest
import yaml
from aiohttp import web

from tests.far_end import far_end
from training.dataset.fetch import SOURCES, fetch
from training.rows import LICENSES, DataError, read

PAIR = "\n\nHuman: a\n\nAssistant: {}"
FILES = {
    "/posts.csv": b'text,label\n"a, b",bad\nfine,good\n',
    "/tree.json": json.dumps({"a": {"b": ["one", "two"]}, "c": ["three"]}).encode(),
    "/chat.jsonl": b'{"q": "why?", "a": "because"}\n',
    "/pairs.jsonl.gz": gzip.compress(json.dumps({s: PAIR.format(s) for s in ("chosen", "rejected")}).encode()),
}


@pytest.fixture
def home():
    """A server with files; what it gives can be changed."""
    files = dict(FILES)

    async def answer(request: web.Request) -> web.Response:
        found = files.get(request.path)
        return web.Response(body=found, status=200 if found else 404)

    with far_end(answer) as url:
        yield url, files


@pytest.fixture
def sources(home, tmp_path):
    url, _ = home
    path = tmp_path / "sources.yaml"
    labels = {"toxicity": {"column": "label", "one": ["bad"]}}
    given = {
        "posts": {"form": "csv", "prompt": "text", "labels": labels, "evaluation": True},
        "tree": {"form": "tree", "labels": {"harm": 1}},
        "chat": {"form": "jsonl", "prompt": "q", "response": "a", "labels": {"harm": 0, "response_harm": 0}},
        "pairs": {"form": "pairs"},
    }
    names = {"posts": "posts.csv", "tree": "tree.json", "chat": "chat.jsonl", "pairs": "pairs.jsonl.gz"}
    path.write_text(yaml.safe_dump({n: s | {"url": f"{url}/{names[n]}", "license": "MIT"} for n, s in given.items()}))
    return path


def test_public_data_becomes_rows(sources, tmp_path):
    """CSV, JSON lines, trees and pairs become rows with labels, source and licence; evaluation sets lie apart."""
    out = tmp_path / "train"
    assert len(list(fetch(out, sources=sources))) == 4
    rows = read(sorted(out.glob("*.gz")))
    assert {(r.source, r.text) for r in rows} >= {
        ("tree", "three"),
        ("chat", "because"),
        ("chat", "why?"),
        ("pairs", "rejected"),
    }
    assert {r.license for r in rows} == {"MIT"}
    (held,) = (tmp_path / "dev").iterdir()
    assert [(r.text, r.labels) for r in read([held])] == [("a, b", {"toxicity": 1}), ("fine", {"toxicity": 0})]


def test_the_same_data_gives_the_same_bytes_and_other_data_is_refused(sources, home, tmp_path):
    """Fetched again nothing changes; where the makers' file changed, it is refused and what is here stays."""
    out = tmp_path / "train"
    list(fetch(out, ["tree"], sources))
    before = (out / "tree.jsonl.gz").read_bytes()
    list(fetch(out, ["tree"], sources))
    home[1]["/tree.json"] = b'["another"]'
    with pytest.raises(DataError, match="not what it was"):
        list(fetch(out, ["tree"], sources))
    assert (out / "tree.jsonl.gz").read_bytes() == before


def test_without_a_network_the_error_says_what_to_do(sources, home, tmp_path):
    """Unreachable, moved and misread sources are each named, and an unknown one before anything is asked."""
    url, files = home
    files["/tree.json"] = b"<html>"
    del files["/chat.jsonl"]
    for name, fault in (("tree", "not in the form"), ("chat", "answers 404"), ("none", "no source none")):
        with pytest.raises(DataError, match=fault):
            list(fetch(tmp_path / "train", [name], sources))
    sources.write_text(sources.read_text().replace(url, "http://127.0.0.1:9"))
    with pytest.raises(DataError, match="cannot be reached"):
        list(fetch(tmp_path / "train", ["posts"], sources))


def test_the_sources_that_come_along_are_pinned():
    """Each names a commit and a licence that is allowed."""
    import re

    for name, source in yaml.safe_load(SOURCES.read_text()).items():
        assert re.search(r"/[0-9a-f]{40}/", source["url"]), name
        assert source["license"] in LICENSES, name
