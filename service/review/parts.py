"""What an item shows, in parts: what was asked, what was generated, and how much of it left. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from service.review.queue import Case

CHUNK: Final = 4000  # characters shown at once
_TITLES: Final = {
    "prompt": "The user asked",
    "system": "Instructions of the application",
    "response": "Earlier answer, as the client sent it",
    "tool_result": "Earlier answer or result of a tool, as the client sent it",
    "reasoning": "Reasoning, as the client sent it",
    "tool_arguments": "Arguments of a tool, as the client sent them",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One text. `name`: `asked/<n>` or `<choice>/<channel>`. `released`: characters that left; None for what was asked.

    `judged`: it is what this item is about, not context.
    """

    name: str
    title: str
    text: str
    released: int | None = None
    judged: bool = False

    @property
    def stage(self) -> str:
        return "input" if self.name.startswith("asked/") else "output"

    @property
    def chunks(self) -> int:
        return max(1, -(-len(self.text) // CHUNK))


def parts(found: Case) -> list[Part]:
    """All parts in order, as far as texts were kept."""
    return [*_asked(found), *_generated(found)]


def _asked(found: Case) -> Iterator[Part]:
    texts = [p["text"] for p in found.passages]
    flagged = {found.texts.get(v.event_id, {}).get("judged") for v in found.verdicts if v.stage == "input"}
    prompts = [i for i, p in enumerate(found.passages) if p["kind"] == "prompt"]
    last = prompts[-1] if prompts else len(texts) - 1
    for i, passage in enumerate(found.passages):
        title = _TITLES.get(passage["kind"], passage["kind"])
        yield Part(f"asked/{i}", title, texts[i], None, i == last or texts[i] in flagged)


def _generated(found: Case) -> Iterator[Part]:
    released = {f"{d.choice}/{d.channel}": d.released_chars for d in found.deliveries}
    several = len({d.choice for d in found.deliveries}) > 1
    for name, text in found.generated.items():
        if text:
            choice, _, channel = name.partition("/")
            title = f"The model's {channel.replace('_', ' ').replace('content', 'answer')}"
            yield Part(
                name, f"{title}, choice {int(choice) + 1}" if several else title, text, released.get(name, 0), True
            )
    if not found.generated:  # interrupted: what the guards read is all there is of the answer
        yield from _judged_only(found)


def _judged_only(found: Case) -> Iterator[Part]:
    longest: dict[str, tuple[str, int]] = {}
    for v in found.verdicts:
        if v.stage == "output" and (text := found.texts.get(v.event_id, {}).get("judged")):
            name = f"{v.choice or 0}/{v.channel or 'content'}"
            if len(text) >= len(longest.get(name, ("", 0))[0]):
                longest[name] = text, v.released_chars
    for name, (text, released) in longest.items():
        yield Part(name, "What the guards read of the answer; it broke off", text, min(released, len(text)), True)
