"""The pattern guard: secrets, disguises, `since`, redaction, time."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.patterns import PatternGuard
from guards.redact import redact
from guards.verdict import Passage, Span

GUARD = PatternGuard()
LOOKAHEAD_CHARS = 24  # of the default policy

# Made up, and put together here so that no scanner takes this file for a leak.
PEM = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEowIBAAKCAQEAx1y2" * 3 + "\nabc=\n-----END RSA PRIVATE KEY-----"
JWT = "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
KEYS = {
    "aws": "AKIA" + "Z7QK4M2NRT5WXB3D",
    "github": "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "github fine": "github_pat_" + "11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz",
    "gitlab": "glpat-" + "xYz12-34abCDefGHijKL",
    "slack": "xoxb-" + "123456789012-1234567890123-AbCdEfGhIjKl",
    "stripe": "sk_" + "live_4eC39HqLyjWDarjtT1zdp7dc",
    "openai": "sk-" + "proj-abcDEF123456ghiJKL789012mnoPQR",
    "anthropic": "sk-" + "ant-api03-abcDEF123456ghiJKL789012",
    "google": "AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q",
    "hugging face": "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz012345",
    "npm": "npm_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "sendgrid": "SG." + "aB1cD2eF3gH4iJ5kL6mN7o" + "." + "A" * 43,
    "jwt": JWT,
}
CONTEXT = [
    ("API_KEY=a8f5f167f44f4964e6c998dee827110c", "a8f5f167f44f4964e6c998dee827110c"),
    ('"client_secret": "Zq8~fTr2.Kp0-uWx5_vBn9"', "Zq8~fTr2.Kp0-uWx5_vBn9"),
    ("the password is hunter2-Hunter2, keep it", "hunter2-Hunter2"),
    ("Authorization: Bearer 9f86d081884c7d659a2feaa0c55ad015", "9f86d081884c7d659a2feaa0c55ad015"),
    ("token=x://API_KEY=a8f5f167f44f4964e6c998dee827110c", "a8f5f167f44f4964e6c998dee827110c"),
    ("postgres://app:s3cr3t-pa55@db.internal/orders", "s3cr3t-pa55"),
    ("AccountKey=" + "aB1/" * 22, "AccountKey=" + "aB1/" * 22),
]
CLEAN = [
    "Your password must have 8 characters and a digit.",
    "token = tokenizer.encode(text1234)",
    "password: <your_password_1>",
    "export API_KEY=$MY_API_KEY_1",
    "API_KEY=your-api-key-123",
    "the secret is patience",
    "commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b changes nothing",
    "A PEM file starts with -----BEGIN PRIVATE KEY----- and ends with a footer.",
    "tokens per second: 12345678",
    "key = dictionary_key_name",
    "password = getpass.getpass()",
    "https://example.com:8080/path?q=1",
    "the pass 2 results are in table3",
]


def spans(text, since=0):
    return GUARD.judge([Passage(text, since=since)])[0].spans


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_keys_are_certain(key):
    """A key with a known form is a certain secret and is found whole."""
    text = f"use {key} for it"
    scores = GUARD.judge([Passage(text)])[0]
    assert scores.by_category["secret"] == 1.0
    assert key in [text[s.start : s.end] for s in scores.spans]


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_keys_are_seen_before_they_leave(key):
    """A key is recognised by its first characters, as many as the default policy holds back."""
    assert spans(key[:LOOKAHEAD_CHARS])


@pytest.mark.parametrize(("text", "secret"), CONTEXT, ids=range(len(CONTEXT)))
def test_random_looking_next_to_a_telling_word(text, secret):
    """What has no form of its own is a secret when the words beside it say so."""
    assert secret in [text[s.start : s.end] for s in spans(text) if s.category == "secret"]


@pytest.mark.parametrize("text", CLEAN)
def test_talk_about_secrets_is_free(text):
    """Words about passwords, placeholders and code that handles keys are no secrets."""
    assert spans(text) == ()


def test_private_key_whole():
    """A private key is taken from header to footer, and as far as it got while it is still being written."""
    text = f"here: {PEM} bye"
    assert [text[s.start : s.end] for s in spans(text)] == [PEM]
    assert [text[s.start : s.end] for s in spans(text[:70])] == [text[6:70]]


def test_private_key_far_before_since():
    """The rest of a long private key is a secret however far back its header is."""
    text = "-----BEGIN PRIVATE KEY-----\n" + "abcdEFGH1234+/zz\n" * 400
    (found,) = spans(text, since=len(text) - 10)
    assert (found.start, found.end) == (0, len(text) - 1)


def test_disguised_key():
    """Characters that cannot be seen and full-width letters do not hide a key, and go with it."""
    key = "\u200b".join(KEYS["aws"])
    wide = "".join(chr(ord(c) + 0xFEE0) for c in KEYS["aws"])
    assert redact(f"a {key} b {wide} c", spans(f"a {key} b {wide} c")) == "a [secret] b [secret] c"


MATERIAL = [*KEYS.values(), PEM, *(t for t, _ in CONTEXT), "jane@example.com", "4111 1111 1111 1111", "+1 650 253 0000"]
MATERIAL += [
    "GB82 WEST 1234 5698 7654 32",
    "5555555555554444",
    "call 467 3395",
    "650-253-0000",
    "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
]
noise = st.text(alphabet="ab1 4@.-+/:=\n\"'[]()_\u200b４é", max_size=12)
texts = st.lists(st.one_of(st.sampled_from(MATERIAL), noise), max_size=7).map("".join)


@given(texts)
def test_redacted_text_is_clean(text):
    """After the spans of a category are redacted, the guard finds no more of it."""
    found = spans(text)
    for category in {s.category for s in found}:
        left = redact(text, [s for s in found if s.category == category])
        assert [s for s in spans(left) if s.category == category] == []


@given(texts)
def test_redaction_touches_spans_only(text):
    """Characters outside the spans stay, in order."""
    found = [Span(s.start, s.end, "\ue000") for s in spans(text)]
    inside = {i for s in found for i in range(s.start, s.end)}
    assert redact(text, found).replace("[\ue000]", "") == "".join(c for i, c in enumerate(text) if i not in inside)


@given(texts, texts, st.integers(0, 120))
def test_since_loses_nothing(before, text, back):
    """With `since` the spans that end after it are the same as in a reading from the start."""
    whole = before + " lorem ipsum" * 60 + text
    since = max(0, len(whole) - back)
    assert set(spans(whole, since)) == {s for s in spans(whole) if s.end > since}


@given(st.text(max_size=30), st.lists(st.tuples(st.integers(-3, 33), st.integers(-3, 33), st.sampled_from("abc"))))
def test_redact_any_spans(text, raw):
    """Any spans, overlapping, empty or beyond the text, leave exactly the characters that none of them holds."""
    found = [Span(*s) for s in raw]
    inside = {i for s in found for i in range(s.start, s.end)}
    markers = [f"[{c}]" for c in "abc"]
    left = redact("".join("." for _ in text), found)
    for marker in markers:
        left = left.replace(marker, "")
    assert len(left) == sum(i not in inside for i in range(len(text)))


def test_overlaps_merge_into_the_longest():
    """Overlapping spans leave one marker, of the longest."""
    assert redact("0123456789", [Span(1, 4, "card"), Span(2, 9, "phone")]) == "0[phone]9"
    assert redact("0123456789", [Span(1, 4, "card"), Span(4, 9, "phone")]) == "0[card][phone]9"


HOSTILE = ["1", "1 ", "4111 1111 1111 1111 ", "a@", "@", "x@a.", "eyJ", "eyJhbGciOi.", "sk-", "//", "://a:", "aws key "]
HOSTILE += [
    "token=a1",
    "token=xxxxa1",
    "GB82 ",
    "+1 ",
    "(1",
    "call 12345678 ",
    "650-253-0000 ",
    "xoxb-1-",
    "4\u200b",
    "１ ",
    "0.",
    "glagent-",
]
HOSTILE += [
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\nabcdabcdabcdabcd\n",
    "\\n",
    "password is ",
    "AKIA",
]


def _cpu_s(text):
    started = time.process_time()
    GUARD.judge([Passage(text)])
    return time.process_time() - started


@pytest.mark.parametrize("unit", HOSTILE)
def test_time_is_linear(unit):
    """Eight times as much hostile text takes about eight times as long, a megabyte included."""
    small, large = (unit * (chars // len(unit)) for chars in (125_000, 1_000_000))
    most_s = 24 * max(min(_cpu_s(small), _cpu_s(small)), 0.01)
    assert any(_cpu_s(large) < most_s for _ in range(3))  # a machine that others use may be slow for a moment


def test_digest_follows_the_rules():
    """Guards with other rules have other digests; the same rules the same."""
    assert PatternGuard().digest == GUARD.digest != PatternGuard(regions=("DE",)).digest
    assert len(GUARD.digest) == 64
