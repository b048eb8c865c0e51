"""One example of a dataset: what is kept of it in a version, and what only its feed knows. Pure."""

import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

Json = dict[str, Any]
Kind = Literal["prompt", "response", "pair", "preferred"]
Source = Literal["human", "machine", "public"]


@dataclass(frozen=True, slots=True)
class Item:
    """An example without its text.

    `key`: keyed hash of the text. `origin`: `{exchange_id, item_id, decisions}` of reviewed traffic, `{exchanges}` of a
    ranking, `{file, line, of}` of a public file (`of`: its source's name). `labels`: category -> 0 or 1, a missing one
    is unknown. `distribution`: category -> share of the reviewers' votes for it. `reviewers`: keyed names.
    """

    id: str
    key: str
    kind: Kind
    origin: Json
    labels: dict[str, int]
    distribution: dict[str, float]
    weight: float
    split: str
    source: Source
    license: str
    group: str
    reviewers: tuple[str, ...] = ()
    agreement: float | None = None
    why: str | None = None
    inclusion_probability: float | None = None

    @property
    def exchanges(self) -> tuple[str, ...]:
        """The exchanges whose texts it holds."""
        one = self.origin.get("exchange_id")
        return tuple(self.origin.get("exchanges", ())) or ((one,) if one else ())

    @property
    def of(self) -> str:
        """The name of its source: that of the public one, else human or machine."""
        return str(self.origin.get("of") or self.source)

    def line(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)


FIELDS = frozenset(f.name for f in fields(Item))


def item(given: Mapping[str, Any]) -> Item:
    """Of an object of `items.jsonl`. Raises TypeError when a field is unknown or missing."""
    return Item(**{**given, "reviewers": tuple(given.get("reviewers", ()))})


@dataclass(frozen=True, slots=True)
class Example:
    """An item as its feed gives it, with its texts.

    `texts`: `prompt` and `response` of kinds prompt and response; `prompt`, `chosen`, `rejected` of a pair and
    `messages` of a preferred answer, as lists of messages. `at`: when it was asked, in unix seconds.
    """

    item: Item
    texts: Json
    caller: str = ""
    subject: str = ""
    state: str = ""
    at: float = 0.0
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """All that is judged or learnt of it, as one text."""
        return "\n\n".join(_said(self.texts[name]) for name in sorted(self.texts, reverse=True) if self.texts[name])

    @property
    def asked(self) -> str:
        """What it answers or asks: the same for all answers to one prompt."""
        first = self.texts.get("prompt") or self.texts.get("messages") or ""
        return first if isinstance(first, str) else str(first[0]["content"] if first else "")

    @property
    def judged(self) -> tuple[str, ...]:
        """Its texts one by one: what must be in no evaluation set."""
        return tuple(_said(text) for text in self.texts.values() if text)


def _said(text: Any) -> str:
    return text if isinstance(text, str) else "\n\n".join(str(turn["content"]) for turn in text)


def text_key(secret: bytes, example: Example) -> str:
    """Keyed, so that nobody can confirm a guess at a text that was erased."""
    body = json.dumps([example.item.kind, example.texts], ensure_ascii=False, sort_keys=True)
    return hmac.digest(secret, body.encode(errors="surrogatepass"), "sha256").hex()[:32]
