"""Personal data with a shape: e-mail addresses, telephone numbers, payment cards, bank accounts. Pure, linear time.

All functions read folded text (`guards.patterns.fold`): ASCII digits, plain spaces and dashes, nothing invisible.
Repetitions that could backtrack are possessive or bounded, so time grows with the length of the text alone.
"""

import functools
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import phonenumbers
from stdnum import iban, luhn, numdb


@dataclass(frozen=True, slots=True)
class Match:
    """Characters `[start, end)` that are of `category` with probability `score`."""

    start: int
    end: int
    category: str
    score: float


CJK: Final = "\u3040-\u9fff\uac00-\ud7af"  # written without spaces, so letters beside an address belong to the sentence
LOCAL_PART: Final = re.compile(rf"(?:[^\W{CJK}]|[.!#$%&'*+/=?^`{{|}}~-]){{1,64}}+")
DOMAIN: Final = re.compile(
    r"(?:[^\W_][\w-]{0,62}+\.){1,8}(?!(?:png|jpe?g|gif|svg|webp|css|js|html)\b)(?:[a-z]{2,24}+|[^\W\d_a-z]{2,24}+)",
    re.IGNORECASE,
)
NOT_LOCAL_START: Final = "./'`&=?!#$%*{|}^~+-"


def emails(text: str) -> Iterator[Match]:
    """E-mail addresses, found from each `@` outwards. `git@host` is a protocol, not a person."""
    at = text.find("@")
    while at >= 0:
        domain = DOMAIN.match(text, at + 1)
        backwards = LOCAL_PART.match(text[max(0, at - 64) : at][::-1]) if domain else None
        local = backwards.group()[::-1].lstrip(NOT_LOCAL_START) if backwards else ""
        if domain and local and local != "git":
            yield Match(at - len(local), domain.end(), "email", 1.0)
        at = text.find("@", at + 1)


# Issuer ranges and lengths: ISO/IEC 7812 as listed by the networks (first digits from-to, number lengths).
ISSUERS: Final = (
    ("4", "4", (13, 16, 18, 19)),  # Visa
    ("51", "55", (16,)),  # Mastercard
    ("2221", "2720", (16,)),
    ("34", "34", (15,)),  # American Express
    ("37", "37", (15,)),
    ("300", "305", (14, 16, 19)),  # Diners Club
    ("3095", "3095", (14, 16, 19)),
    ("36", "36", (14, 16, 19)),
    ("38", "39", (14, 16, 19)),
    ("6011", "6011", (16, 19)),  # Discover
    ("644", "659", (16, 19)),
    ("35", "35", (16, 17, 18, 19)),  # JCB: 3528 to 3589 are issued, test data uses the rest
    ("1800", "1800", (15,)),
    ("2131", "2131", (15,)),
    ("62", "62", (16, 17, 18, 19)),  # UnionPay
    ("81", "82", (16,)),  # RuPay
    ("508", "508", (16,)),
    ("2200", "2204", (16, 17, 18, 19)),  # Mir
    ("9792", "9792", (16,)),  # Troy
    ("5018", "5020", tuple(range(12, 20))),  # Maestro
    ("5038", "5038", tuple(range(12, 20))),
    ("5893", "5893", tuple(range(12, 20))),
    ("56", "58", tuple(range(12, 20))),
    ("6304", "6304", tuple(range(12, 20))),
    ("6759", "6763", tuple(range(12, 20))),
)
LAYOUTS: Final = {
    *((n,) for n in range(12, 20)),
    (4, 4, 4, 4),
    (4, 4, 4, 4, 3),
    (4, 6, 5),
    (4, 6, 4),
    (4, 5, 6),
    (6, 13),
}
CARD_RUN: Final = re.compile(r"\d(?:[ .\-_/]{0,3}+\d)*+")
DIGITS: Final = re.compile(r"\d++")


def is_card(digits: str) -> bool:
    """Whether a known issuer gives out numbers like this one, checksum included."""
    return 12 <= len(digits) <= 19 and _issued(digits[:4], len(digits)) and bool(luhn.is_valid(digits))


@functools.lru_cache(4096)
def _issued(prefix: str, length: int) -> bool:
    return any(low <= prefix[: len(low)] <= high and length in lengths for low, high, lengths in ISSUERS)


def cards(text: str) -> Iterator[Match]:
    """Card numbers, whole or in groups. Certain in a layout that cards are printed in, likely in any other."""
    for run in CARD_RUN.finditer(text):
        if run.end() - run.start() >= 12:
            yield from _cards_of_run(text, [m.span() for m in DIGITS.finditer(text, *run.span())])


def _cards_of_run(text: str, groups: list[tuple[int, int]]) -> Iterator[Match]:
    """First printed layouts, then stretches of equal groups between them, then what is left as a whole."""
    rest: list[tuple[int, int]] = []  # ranges of groups
    begin = at = 0
    while at < len(groups):
        if match := _layout_at(text, groups, at, begin):
            yield Match(groups[at][0], groups[match - 1][1], "card", 1.0)
            rest.append((begin, at))
            begin = at = match
        else:
            at += 1
    rest.append((begin, len(groups)))
    for first, last in rest:
        for i, j in (*_even_stretches(groups, first, last), (first, last)):
            decimals = j - i == 2 and text[groups[i][1] : groups[i + 1][0]] == "."
            if j - i > 1 and not decimals and is_card("".join(text[a:b] for a, b in groups[i : min(j, i + 20)])):
                yield Match(groups[i][0], groups[j - 1][1], "card", 0.9)


def _layout_at(text: str, groups: list[tuple[int, int]], at: int, begin: int) -> int | None:
    """Where a card that starts with group `at` ends (an index into groups)."""
    for size in (5, 4, 3, 2, 1):
        part = groups[at : at + size]
        if len(part) < size or tuple(b - a for a, b in part) not in LAYOUTS:
            continue
        if len({text[a[1] : b[0]] for a, b in itertools.pairwise(part)}) > 1:
            continue  # cards are printed with one separator
        if size == 1 and _part_of_word(text, *part[0], decimals=at > begin):
            continue
        if is_card("".join(text[a:b] for a, b in part)):
            return at + size
    return None


def _part_of_word(text: str, start: int, end: int, *, decimals: bool) -> bool:
    before, after = text[start - 1 : start], text[end : end + 1]
    return any(c.isascii() and c.isalpha() for c in (before, after)) or (decimals and before == ".")


def _even_stretches(groups: list[tuple[int, int]], first: int, last: int) -> Iterator[tuple[int, int]]:
    """Ranges of neighbouring groups of the same size, shorter than the whole."""
    begin = first
    for i in range(first + 1, last + 1):
        if i == last or groups[i][1] - groups[i][0] != groups[begin][1] - groups[begin][0]:
            if (begin, i) != (first, last):
                yield begin, i
            begin = i


IBAN_START: Final = re.compile(r"(?<![0-9A-Za-z])[A-Za-z]{2}[ -]?\d[ -]?\d")
IBAN_CHARS: Final = re.compile(r"(?:[ .-]?[0-9A-Z])*+", re.IGNORECASE)
IBAN_LONGEST: Final = 34


@functools.cache
def _iban_length(country: str) -> int:
    """Characters of an IBAN of this country; 0 if it has none."""
    structure = numdb.get("iban").info(country)[0][1].get("bban", "")
    sizes = [int(n) for n in re.findall(r"(\d+)!", structure)]
    return 4 + sum(sizes) if sizes else 0


def ibans(text: str) -> Iterator[Match]:
    """Bank account numbers whose country, length, structure and checksum are right (ISO 13616)."""
    for head in IBAN_START.finditer(text):
        length = _iban_length(head.group()[:2].upper())
        run = IBAN_CHARS.match(text, head.start(), head.start() + 2 * IBAN_LONGEST) if length else None
        if run is None:
            continue
        places = [i for i in range(*run.span()) if text[i].isalnum()][: length + 1]
        glued = len(places) > length and places[length] == places[length - 1] + 1
        if len(places) < length or glued:
            continue
        if iban.is_valid("".join(text[i] for i in places[:length]), check_country=False):
            yield Match(head.start(), places[length - 1] + 1, "iban", 1.0)


PHONE_RUN: Final = re.compile(r"[+(]{0,2}\d(?:(?:[ -]?[()][ -]?|[ .\-/]| - )?+\d)*+")
EXTENSION: Final = re.compile(r" ?(?:x|ext\.?|extension) ?\d{1,6}(?!\w)", re.IGNORECASE)
PHONE_WORD: Final = re.compile(
    r"(?<![\[\w])(?:(?:tele)?phones?|tel|mobile|cell(?:phone)?|call(?:ed|ing|s)?|fax|whatsapp|sms|dial|reach|answering|"
    r"telefon\w{0,4}|téléphone|teléfono|handy|móvil|portable)(?!\w)|电话|電話|手机|携帯|전화|هاتف|телефон",
    re.IGNORECASE,
)
NOT_PHONE: Final = re.compile(
    r"\d{1,4}([./-])\d{1,2}\1\d{1,4}(?: \d{1,2})?"  # date
    r"|(?:1[5-9]|20)\d\d ?[-/] ?(?:1[5-9]|20)\d\d"  # years
    r"|\d{1,3}(?:\.\d{1,3}){3}"  # IP address
    r"|\d+[./]\d+"  # decimals, fractions
)
GLUED_BEFORE: Final = re.compile(r"[0-9A-Za-z_./=#$€£-]")
GLUED_AFTER: Final = re.compile(r"[0-9A-Za-z_%$€£]")
CONTEXT_CHARS: Final = 40
NEXT_NUMBER_CHARS: Final = 8  # "call 467 3395 or 467 3396"


def phones(text: str, regions: tuple[str, ...]) -> Iterator[Match]:
    """Telephone numbers: with country code, in a format of one of `regions`, or right after a word such as "call"."""
    last = -NEXT_NUMBER_CHARS - 1  # where the number before this one ended
    for run in PHONE_RUN.finditer(text):
        glued = run.start() not in (0, last) and GLUED_BEFORE.match(text, run.start() - 1)
        if glued or not _phone_like(run.group()):
            continue
        extension = EXTENSION.match(text, run.end())
        if not extension and GLUED_AFTER.match(text, run.end()):
            continue
        context = text[max(0, last, run.start() - CONTEXT_CHARS) : run.start()].rpartition("]")[2]
        told = run.start() - last <= NEXT_NUMBER_CHARS or PHONE_WORD.search(context) is not None
        if score := _phone_score(run.group(), regions, told=told):
            last = extension.end() if extension else run.end()
            yield Match(run.start(), last, "phone", score)


def _phone_like(number: str) -> bool:
    return len(number) < 40 and 7 <= sum(c.isdigit() for c in number) <= 15 and not NOT_PHONE.fullmatch(number)


def _phone_score(number: str, regions: tuple[str, ...], *, told: bool) -> float:
    if number.startswith(("+", "(+")):
        return 1.0 if _is_valid(number, None) else 0.8
    if told:
        return 0.9
    formatted = not number.isdigit()
    strict = phonenumbers.Leniency.STRICT_GROUPING
    return 0.7 if formatted and any(_is_valid(number, region, strict) for region in regions) else 0.0


def _is_valid(number: str, region: str | None, leniency: int = phonenumbers.Leniency.VALID) -> bool:
    found = phonenumbers.PhoneNumberMatcher(number, region, leniency=leniency)
    return any(len(m.raw_string) >= len(number) - 2 for m in found)  # brackets around it do not count
