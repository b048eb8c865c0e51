"""The pattern guard: secrets and personal data that have a shape, with the characters they take."""

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.basic_auth import BasicAuthDetector
from detect_secrets.plugins.discord import DiscordBotTokenDetector
from detect_secrets.plugins.high_entropy_strings import Base64HighEntropyString
from detect_secrets.plugins.mailchimp import MailchimpDetector
from detect_secrets.plugins.square_oauth import SquareOAuthDetector
from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector
from detect_secrets.plugins.twilio import TwilioKeyDetector

from guards import pii
from guards.pii import Match
from guards.verdict import Languages, Passage, Scores, Span, Stage

LOOKBACK_CHARS: Final = (
    512  # before `since`: longer than any match but a private key, which is looked for from the start
)
TOKEN_CHARS: Final = 8192  # a token that straddles the look-back is read from its beginning, up to this far

INVISIBLE: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u20e3\u3164\uffa0")


class _Folding(dict[int, int | None]):
    """Character -> the plain one it stands for; None for one that cannot be seen. Filled as characters are met."""

    def __missing__(self, code: int) -> int | None:
        self[code] = folded = self._fold(chr(code))
        return folded

    @staticmethod
    def _fold(char: str) -> int | None:
        kind = unicodedata.category(char)
        if kind == "Cf" or char in INVISIBLE or 0xFE00 <= ord(char) <= 0xFE0F:
            return None
        if kind == "Nd":
            return ord("0") + unicodedata.decimal(char)
        if kind in ("Zs", "Pd") or char == "\N{MINUS SIGN}":
            return ord(" " if kind == "Zs" else "-")
        plain = unicodedata.normalize("NFKC", char)
        return ord(plain) if len(plain) == 1 else ord(char)


_FOLDING: Final = _Folding()


def fold(text: str) -> tuple[str, Sequence[int]]:
    """`text` with digits, spaces, dashes and letter forms made plain and what cannot be seen left out.

    The second value gives for each folded character its place in `text`.
    """
    if text.isascii():
        return text, range(len(text))
    folded = text.translate(_FOLDING)
    if len(folded) == len(text):
        return folded, range(len(text))
    return folded, [i for i, char in enumerate(text) if _FOLDING[ord(char)] is not None]


# Our own forms match as soon as 24 characters are there, the lookahead of the default policy, so that nothing of such
# a key leaves. No left boundary: a key is a key also when it is glued to a word.
TOKENS: Final = re.compile(
    r"(?:A3T[A-Z0-9]|ABIA|ACCA|AKIA|ASIA)[0-9A-Z]{16}"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{20,255}+|github_pat_[A-Za-z0-9_]{13,255}+"
    r"|gl(?:pat|dt|ft|soat|rt|cbt|imt|ptt|agent|oas)-[\w-]{16,1024}+"
    r"|xox[abposre]-[A-Za-z0-9-]{12,255}+|xapp-\d-[A-Za-z0-9-]{12,255}+"  # Slack
    r"|hooks\.slack\.com/services/[\w/]{8,255}+"
    r"|[rsp]k_(?:live|test)_[0-9a-zA-Z]{16,255}+|whsec_[0-9a-zA-Z]{18,255}+"  # Stripe
    r"|sk-(?:ant|proj|svcacct|admin|or|lf)-[\w-]{13,255}+|sk-[A-Za-z0-9]{21,255}+"  # model APIs
    r"|AIza[\w-]{20,64}+|ya29\.[\w-]{19,512}+"  # Google
    r"|hf_[A-Za-z0-9]{21,64}+|npm_[A-Za-z0-9]{20,64}+|pypi-AgE[\w-]{16,512}+|dop_v1_[0-9a-f]{17,64}+"
    r"|SG\.[\w-]{21,22}(?:\.[\w-]{0,64}+)?|key-[0-9a-f]{20,64}+"  # SendGrid, Mailgun
    r"|eyJ(?:hbGciOi|0eXAiOi|raWQiOi|jdHkiOi|lbmMiOi)[\w=-]{0,1024}+(?:\.[\w=-]{0,8192}+){0,4}"  # JSON web token
)
# Breadth: forms that detect-secrets keeps. Its JWT, OpenAI and npm rules take quadratic time on hostile text and its
# keyword rule reads lines of known file types, so ours stand in for those.
KEPT_BY_DETECT_SECRETS: Final = tuple(
    rule
    for detector in (
        AWSKeyDetector,
        AzureStorageKeyDetector,
        DiscordBotTokenDetector,
        MailchimpDetector,
        SquareOAuthDetector,
        TelegramBotTokenDetector,
        TwilioKeyDetector,
    )
    for rule in detector.denylist
)
CREDENTIAL_URLS: Final = tuple(BasicAuthDetector.denylist)
LONG_WORD_CHARS: Final = 16  # shorter words hold none of these tokens
_BREAK = r"(?:\\[nr]|\s){0,8}+"
PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    rf"(?:{_BREAK}[A-Za-z-]{{3,20}}: [^\n]{{1,120}})*+"
    rf"(?:{_BREAK}[A-Za-z0-9+/=]{{16,}}+)++"
    rf"(?:{_BREAK}[A-Za-z0-9+/=]{{1,76}}+(?=\s*+(?:-----END|\Z)))?"
    rf"(?:{_BREAK}-----END [A-Z0-9 ]{{1,40}}-----)?"
)
ASSIGNED: Final = re.compile(
    r"(?<!\[)(?:api[_ -]?key|access[_ -]?key|secret(?:[_ -]?key)?|token|pass(?:word|wd|phrase)|pwd|bearer|credentials?)"
    r"[\"'`\]*]{0,4}(?P<link>\s{0,3}(?::=|=>|=|:|\bis\b|\s)\s{0,3})[\"'`*]{0,3}"
    r"(?P<value>[^\s\"'`,;<>()\[\]{}|]{8,200}+)(?![(\[{])",
    re.IGNORECASE,
)
ASSIGNED_WORDS: Final = ("key", "secret", "token", "pass", "pwd", "bearer", "credential")
PLACEHOLDER: Final = re.compile(
    r"your|example|placeholder|changeme|redacted|dummy|sample|x{4}|\*{3}|\.{3}|\$|%\(|://|^[\w.]*\.[a-z_]{3,}$|^/",
    re.IGNORECASE,
)
_ENTROPY = Base64HighEntropyString()


def secrets(text: str) -> Iterator[Match]:
    """Keys, tokens and passwords: by their form, or random-looking and next to a word that says what they are."""
    if max(map(len, text.split()), default=0) >= LONG_WORD_CHARS:
        for rule in (TOKENS, *KEPT_BY_DETECT_SECRETS):
            for match in rule.finditer(text):
                yield Match(match.start(), match.end(), "secret", 1.0)
    if "://" in text:
        for match in (m for rule in CREDENTIAL_URLS for m in rule.finditer(text)):
            if not PLACEHOLDER.search(match.group(1)):
                yield Match(match.start(1), match.end(1), "secret", 0.9)
    yield from _assigned(text)


def _assigned(text: str) -> Iterator[Match]:
    """Values beside a telling word; one that is no secret may hold another such pair."""
    lowered = text.lower()
    match = ASSIGNED.search(text) if any(word in lowered for word in ASSIGNED_WORDS) else None
    while match:
        score = _assigned_score(match["value"].rstrip(".!?:"), match["link"])
        if score:
            yield Match(match.start("value"), match.end("value"), "secret", score)
        match = ASSIGNED.search(text, match.end() if score else match.start("value"))


def _assigned_score(value: str, link: str) -> float:
    """How likely a value beside a word like "token" is a secret: random-looking, or a password plainly assigned."""
    letters, digits = sum(c.isalpha() for c in value), sum(c.isdigit() for c in value)
    if not letters or not digits or PLACEHOLDER.search(value):
        return 0.0
    if len(value) >= 16 and digits >= 2 and _ENTROPY.calculate_shannon_entropy(value) >= 3.0:
        return 0.9
    return 0.6 if link.strip() else 0.0


def private_keys(text: str) -> Iterator[Match]:
    if "PRIVATE KEY" in text:
        for match in PRIVATE_KEY.finditer(text):
            yield Match(match.start(), match.end(), "secret", 1.0)


FOUND: Final = frozenset({"email", "phone", "card", "iban", "secret"})


class PatternGuard:
    """Finds e-mail addresses, telephone, card and bank account numbers, keys and passwords by rule.

    A score says how sure the form is: 1.0 where a checksum or an unmistakable prefix decides, less where context does.
    `regions` (ISO 3166) are those whose national telephone formats count without a country code.
    """

    name = "patterns"
    languages: Languages | None = None  # forms, not words
    most_chars = None  # linear, and a private key is known by its head alone
    version = "1"

    def __init__(self, regions: tuple[str, ...] = ("US", "GB")) -> None:
        self.regions = regions
        self.digest = _digest(regions)

    def covers(self, stage: Stage) -> frozenset[str]:
        """All of its categories at both stages."""
        return FOUND

    def judge(self, passages: Sequence[Passage]) -> list[Scores]:
        """Spans are in characters of the passage; matches that end before `since` are left out."""
        return [self._scores(passage) for passage in passages]

    def _scores(self, passage: Passage) -> Scores:
        found = sorted(set(self._find(passage.text, passage.since)), key=lambda m: (m.start, m.end))
        scores = dict.fromkeys(FOUND, 0.0)
        for match in found:
            scores[match.category] = max(scores[match.category], match.score)
        return Scores(scores, tuple(Span(m.start, m.end, m.category) for m in found))

    def _find(self, text: str, since: int) -> Iterator[Match]:
        begin = _read_from(text, since)
        folded, places = fold(text[begin:])
        rules = [pii.emails(folded), secrets(folded)]
        if pii.DIGITS.search(folded):
            rules += [pii.cards(folded), pii.ibans(folded), pii.phones(folded, self.regions)]
        for matches in rules:
            yield from _placed(matches, places, begin, since)
        yield from (m for m in private_keys(text) if m.end > since)


def _read_from(text: str, since: int) -> int:
    """Where reading starts, so that a match that reaches past `since` is seen whole."""
    begin = max(0, since - LOOKBACK_CHARS)
    earliest = max(0, begin - TOKEN_CHARS)
    word = max((text.rfind(space, earliest, begin) for space in (" ", "\n", "\t")), default=-1)
    return begin and max(earliest, word + 1)


def _placed(matches: Iterator[Match], places: Sequence[int], begin: int, since: int) -> Iterator[Match]:
    for m in matches:
        start, end = begin + places[m.start], begin + places[m.end - 1] + 1
        if end > since:
            yield Match(start, end, m.category, m.score)


def _digest(regions: tuple[str, ...]) -> str:
    """sha256 over the rules (this file and pii.py), the regions and the libraries that hold the rest of the rules."""
    parts = [Path(f).read_bytes() for f in (__file__, pii.__file__)]
    libraries = [f"{name}=={version(name)}" for name in ("phonenumbers", "python-stdnum", "detect-secrets")]
    return hashlib.sha256(b"\0".join([*parts, repr((regions, libraries)).encode()])).hexdigest()
