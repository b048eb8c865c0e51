"""The keys of the console: one table, which the sheet shows and which the script reads its bindings from. Pure."""

from dataclasses import dataclass
from typing import Final, Literal

Scope = Literal["everywhere", "item", "ranking"]
MODES: Final = ("on", "alt", "off")  # of single keys: WCAG 2.1.4


@dataclass(frozen=True, slots=True)
class Key:
    """`keys`: as `KeyboardEvent.key` names them, with `Ctrl+` before. `action`: what the script does.

    `upto`: the last ones of a row of keys that begins with these.
    """

    keys: tuple[str, ...]
    action: str
    does: str
    scope: Scope = "item"
    upto: tuple[str, ...] = ()

    @property
    def shown(self) -> list[str]:
        names = {"ArrowDown": "↓", "ArrowUp": "↑"}
        return [names.get(k, k) for k in self.keys]


KEYS: Final = (
    Key(("?",), "sheet", "this list of keys", "everywhere"),
    Key(("n",), "next", "start, or go on with the next item", "everywhere"),
    Key(("z",), "undo", "take the last decision or ranking back", "everywhere"),
    Key(("/",), "search", "search", "everywhere"),
    Key(("j", "ArrowDown"), "down", "next part of the conversation"),
    Key(("k", "ArrowUp"), "up", "part before"),
    Key(("r",), "reveal", "reveal this part; hold to peek"),
    Key(("f",), "more", "show more of this part, if it is long"),
    Key(("s",), "safe", "this part is safe"),
    Key(("v",), "violation", "this part violates the policy"),
    Key(("u",), "unsure", "unsure about this part"),
    Key(("1",), "category", "categories by their digit", upto=("9", "0")),
    Key(("c",), "correct", "the action was correct"),
    Key(("o",), "over_block", "the action was too strict"),
    Key(("m",), "missed", "the action missed something"),
    Key(("l",), "too_late", "the action came too late"),
    Key(("]",), "graver", "more severe"),
    Key(("[",), "slighter", "less severe"),
    Key(("+",), "surer", "more confident"),
    Key(("-",), "less_sure", "less confident"),
    Key(("w",), "mark", "mark the selected words, or the whole part"),
    Key(("t",), "rationale", "write the rationale; Esc leaves it"),
    Key(("x",), "skip", "skip, with a reason"),
    Key(("e",), "escalate", "escalate to a lead"),
    Key(("Ctrl+Enter",), "submit", "submit and go on"),
    Key(("1",), "place", "the place of this answer; then the next one", "ranking", upto=("4",)),
    Key(("j", "ArrowDown"), "down", "next answer", "ranking"),
    Key(("k", "ArrowUp"), "up", "answer before", "ranking"),
    Key(("q",), "scores", "score this answer", "ranking"),
    Key(("b",), "all_bad", "all of them are bad", "ranking"),
    Key(("p",), "edit", "edit this answer into a better one; Esc leaves it", "ranking"),
    Key(("x",), "leave", "leave it to others", "ranking"),
    Key(("Ctrl+Enter",), "submit", "submit and go on", "ranking"),
)
