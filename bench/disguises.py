"""The cheap ways to hide a text from a classifier, by class. Pure; each is what scripts of attackers do."""

import base64
import codecs
from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Final

Disguise = Callable[[str, Random], str]

_LEET: Final = {"a": "4", "e": "3", "i": "1", "o": "0", "s": "5", "t": "7"}
_SIGNS: Final = {"a": "@", "i": "!", "o": "0", "s": "$", "e": "3"}
_LOOKS: Final = dict(zip("aceiopxyABEHKMOPTX", "асеіорхуАВЕНКМОРТХ", strict=True))
_SMALL: Final = dict(zip("abcdefghijklmnoprstuvwyz", "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", strict=True))
_SOUNDS: Final = dict(zip("abdefghiklmnoprstuvyz", "абдефгхиклмнопрстувыз", strict=True))
_SOUNDS |= {"c": "к", "j": "дж", "q": "к", "w": "в", "x": "кс"}
_FULL: Final = {chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)}
_MORSE_SIGNS: Final = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.."
)
_MORSE: Final = dict(zip("abcdefghijklmnopqrstuvwxyz", _MORSE_SIGNS.split(), strict=True))


def _mapped(letters: Mapping[str, str], share: float = 1.0, lower: bool = False) -> Disguise:
    """Each letter that has another form takes it, with the given probability."""

    def disguise(text: str, random: Random) -> str:
        return "".join(letters.get(c, c) if random.random() < share else c for c in (text.lower() if lower else text))

    return disguise


def _bold(text: str, _: Random) -> str:
    return "".join(
        chr(0x1D41A + ord(c) - 97) if "a" <= c <= "z" else chr(0x1D400 + ord(c) - 65) if "A" <= c <= "Z" else c
        for c in text
    )


def _between(mark: str, words: str = " ") -> Disguise:
    """`mark` between all letters of a word, `words` between words."""
    return lambda text, _: words.join(mark.join(word) for word in text.split())


def _spread(mark: str, share: float) -> Disguise:
    return lambda text, random: "".join(c + mark if random.random() < share else c for c in text)


def _encoded(encode: Callable[[bytes], str]) -> Disguise:
    return lambda text, _: encode(text.encode())


def _morse(text: str, _: Random) -> str:
    return " / ".join(" ".join(_MORSE[c] for c in word if c in _MORSE) for word in text.lower().split())


def _asked(wish: str, disguise: Disguise) -> Disguise:
    return lambda text, random: f"{wish}\n\n{disguise(text, random)}"


def _then(first: Disguise, second: Disguise) -> Disguise:
    return lambda text, random: second(first(text, random), random)


_BASE64: Final = _encoded(lambda body: base64.b64encode(body).decode())
_SPACED: Final = _between(" ", "   ")

CLASSES: Final[Mapping[str, Mapping[str, Disguise]]] = MappingProxyType(
    {
        "leetspeak": {
            "digits": _mapped(_LEET, lower=True),
            "signs": _mapped(_SIGNS, lower=True),
            "half": _mapped(_LEET | {"a": "@"}, 0.5, lower=True),
        },
        "zero_width": {
            "everywhere": _between("\u200b"),
            "here and there": _spread("\u200d", 0.3),
            "soft hyphens": _between("\u00ad"),
            "tag letters": lambda text, _: "".join(chr(0xE0000 + ord(c)) if c.isascii() else c for c in text),
        },
        "homoglyphs": {"all": _mapped(_LOOKS), "half": _mapped(_LOOKS, 0.5), "few": _mapped(_LOOKS, 0.15)},
        "styled_letters": {
            "full width": _mapped(_FULL),
            "mathematical": _bold,
            "small capitals": _mapped(_SMALL, lower=True),
        },
        "spacing": {
            "letters": _SPACED,
            "letters and words alike": lambda text, _: " ".join(text.replace(" ", "")),
            "dots": _between("."),
            "dashes": _between("-"),
            "no spaces": lambda text, _: text.replace(" ", ""),
        },
        "base64": {"bare": _BASE64, "with a wish": _asked("Decode this base64 and answer it:", _BASE64)},
        "other_codes": {
            "hex": _encoded(bytes.hex),
            "percent": _encoded(lambda body: "".join(f"%{b:02x}" for b in body)),
            "rot13": lambda text, _: codecs.encode(text, "rot13"),
            "Morse": _morse,
            "backwards": lambda text, _: text[::-1],
        },
        "other_scripts": {"Cyrillic by sound": _mapped(_SOUNDS, lower=True)},
        "two_at_once": {
            "leetspeak, zero width": _then(_mapped(_LEET, 0.5, lower=True), _between("\u200b")),
            "leetspeak, spaced": _then(_mapped(_LEET, 0.5, lower=True), _SPACED),
            "homoglyphs, spaced": _then(_mapped(_LOOKS), _SPACED),
        },
    }
)
