"""What has the form of personal data, and what only looks like it."""

import gzip
import json
import os
from pathlib import Path

import pytest

from guards.patterns import PatternGuard
from guards.verdict import Passage

GUARD = PatternGuard()

# text, category, the characters that must be found
FOUND = [
    ("write to jane.doe+news@example.co.uk, please", "email", "jane.doe+news@example.co.uk"),
    ("(jane@example.com)", "email", "jane@example.com"),
    ("<mailto:jane@example.com>", "email", "jane@example.com"),
    ("почта: иван@пример.рф", "email", "иван@пример.рф"),
    ("邮箱jane@example.com是我的", "email", "jane@example.com"),
    ("jane\u200b@\u200bexample.com", "email", "jane\u200b@\u200bexample.com"),
    ("user@example.com:hunter2", "email", "user@example.com"),
    ("pay with 4111111111111111 now", "card", "4111111111111111"),
    ("4111 1111 1111 1111", "card", "4111 1111 1111 1111"),
    ("4111-1111-1111-1111.", "card", "4111-1111-1111-1111"),
    ("4111.1111.1111.1111", "card", "4111.1111.1111.1111"),
    ("４１１１ １１１１ １１１１ １１１１", "card", "４１１１ １１１１ １１１１ １１１１"),
    ("٤١١١١١١١١١١١١١١١", "card", "٤١١١١١١١١١١١١١١١"),
    ("4111\u200b1111\u200d1111\u00ad1111 ok", "card", "4111\u200b1111\u200d1111\u00ad1111"),
    (
        "4\ufe0f\u20e31\ufe0f\u20e31\ufe0f\u20e31 1111 1111 1111",
        "card",
        "4\ufe0f\u20e31\ufe0f\u20e31\ufe0f\u20e31 1111 1111 1111",
    ),
    ("4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "card", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"),
    ("4111\u00a01111\u20091111\u30001111", "card", "4111\u00a01111\u20091111\u30001111"),
    ("4111–1111–1111–1111", "card", "4111–1111–1111–1111"),
    ("41 11 11 11 11 11 11 11", "card", "41 11 11 11 11 11 11 11"),
    ("Amex 3782 822463 10005, exp 12/27", "card", "3782 822463 10005"),
    ("5555 5555 5555 4444 12/27 123", "card", "5555 5555 5555 4444"),
    ("两张卡4111111111111111和", "card", "4111111111111111"),
    ("order 77 4111 1111 1111 1111", "card", "4111 1111 1111 1111"),
    ("IBAN: GB82 WEST 1234 5698 7654 32 is mine", "iban", "GB82 WEST 1234 5698 7654 32"),
    ("de89370400440532013000", "iban", "de89370400440532013000"),
    ("FR14-2004-1010-0505-0001-3M02-606", "iban", "FR14-2004-1010-0505-0001-3M02-606"),
    ("N O 9 3 NO93 8601 1117 947", "iban", "NO93 8601 1117 947"),
    ("＋１ 650 253 0000", "phone", "＋１ 650 253 0000"),
    ("+49 30 123456 is the desk", "phone", "+49 30 123456"),
    ("(650) 253-0000", "phone", "(650) 253-0000"),
    ("650-253-0000x12", "phone", "650-253-0000x12"),
    ("07911 123456", "phone", "07911 123456"),
    ("call me at 467 3395", "phone", "467 3395"),
    ("call 467 3395 or 467 3396", "phone", "467 3396"),
    ("+1 650 253 0000+1 650 253 0001", "phone", "+1 650 253 0001"),
    ("电话：13812345678", "phone", "13812345678"),
    ("1. 650-253-0000", "phone", "650-253-0000"),
]

CLEAN = [
    "ISBN 978-3-16-148410-0 and 0-306-40615-2",
    "ISBN 9783161484100",
    "on 2023-11-12, 12.11.2023, 11/12/2023 and 2023-11-12 13:45:00",
    "from 1990-2000, 1914 - 1918",
    "order 1234567890123456, tracking 1Z999AA10123456784",
    "invoice no. 4111111111111112",
    "9999 9999 9999 9999",
    "0000 0000 0000 0000",
    "pi is 3.141592653589793 and e is 2.718281828459045",
    "a fraction of 0.4111111111111111",
    "$1,234,567.89 or 1 234 567,89 € or 12 500 000",
    "192.168.100.200 and 10.0.0.1:8080",
    "00000000-0000-4111-1111-111111111111",
    "sha1 da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "a4111111111111111f",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
    "2 4 8 16 32 64 128 256 512 1024 2048 4096 8192 16384",
    "x = 12345678 + 87654321",
    "population 8336817, area 1223588800",
    "git@github.com:owner/repo.git and icon@2x.png",
    "npm install react@18.2.0 lodash@latest",
    "@app.route and user@localhost",
    "GB82 WEST 1234 5698 7654 33",
    "is 12 monkeys at 1234 5678 9012 3456 7890 1234",
    "IT60 is a model, DE89 another",
    "timestamp 1700000000, 1700000000000",
    "version 10.15.7 build 19H15, RFC 2822, HTTP/1.1 200",
    "call 2023-11-12",
    "phone 1990-2000",
    "the ratio 2400/200=12",
]


def find(text, **fields):
    return GUARD.judge([Passage(text, **fields)])[0]


@pytest.mark.parametrize(("text", "category", "found"), FOUND, ids=range(len(FOUND)))
def test_finds(text, category, found):
    """Personal data is found whole, in the characters of the original text, whatever digits and spaces it wears."""
    scores = find(text)
    assert found in [text[s.start : s.end] for s in scores.spans if s.category == category]
    assert scores.by_category[category] >= 0.5


@pytest.mark.parametrize("text", CLEAN)
def test_leaves_alone(text):
    """Numbers and names of everyday text are no personal data."""
    assert find(text).spans == ()


def test_certainty():
    """A telephone number is certain with its country code, likely by its format or the words before it."""
    certain, formatted, told = (
        find(t).by_category["phone"] for t in ("+1 650 253 0000", "650-253-0000", "call 4673395")
    )
    assert certain == 1.0
    assert 0.5 <= formatted < told < certain
    assert find("6502530000").by_category["phone"] == 0.0


def test_regions():
    """National formats count in the regions the guard was made for."""
    french = Passage("01 42 68 53 00")
    assert not GUARD.judge([french])[0].spans
    assert PatternGuard(regions=("FR",)).judge([french])[0].spans


def _rows(name):
    folder = Path(os.environ.get("SLUICEGATE_DATA") or Path(__file__).parents[3] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("the shared data are not here: set SLUICEGATE_DATA to their folder")
    with gzip.open(folder / "train" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


ENTITIES = {"EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "CREDIT_CARD": "card", "IBAN_CODE": "iban"}
RECALL = {"email": 1.0, "phone": 0.78, "card": 0.98, "iban": 1.0}  # measured: 49/49, 74/92, 135/136, 21/21


@pytest.mark.data
def test_recall_on_real_forms():
    """Of the personal data in presidio-research's sentences, as much is found as was measured."""
    found, there = dict.fromkeys(RECALL, 0), dict.fromkeys(RECALL, 0)
    for row in _rows("pii"):
        spans = find(row["prompt"]).spans
        for entity in row["spans"]:
            if category := ENTITIES.get(entity["entity_type"]):
                there[category] += 1
                found[category] += any(
                    s.category == category and s.start <= entity["start_position"] and s.end >= entity["end_position"]
                    for s in spans
                )
    assert {c: found[c] / there[c] >= least for c, least in RECALL.items()} == dict.fromkeys(RECALL, True)


@pytest.mark.data
def test_silence_on_benign_text():
    """In 17,000 benign texts no card and no bank account is found, and few secrets (two, both in a manual)."""
    counts = dict.fromkeys(("card", "iban", "secret"), 0)
    for row in _rows("benign"):
        for text in filter(None, (row["prompt"], row["response"])):
            for category in {s.category for s in find(text).spans} & counts.keys():
                counts[category] += 1
    assert counts["card"] == counts["iban"] == 0
    assert counts["secret"] <= 4
