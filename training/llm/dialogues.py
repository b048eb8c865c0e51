"""Dialogues, pairs and texts from JSONL: ours, TRL's, OpenAI's fine-tuning form and HH-RLHF's.

A line is one of:
  {"messages": [...]}                       the last turn is the answer to learn
  {"prompt", "completion"}                  text or messages
  {"prompt", "response", "labels"}          ours; learnt only where no label is 1
  {"prompt", "chosen", "rejected"}          text or messages; without `prompt`, what both begin with
  {"chosen", "rejected"}                    with "\\n\\nHuman:" and "\\n\\nAssistant:" before the turns
  {"text"}                                  for pre-training
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from random import Random
from typing import Any, Final

from training.llm.ranks import say
from training.llm.recipe import Recipe, Source
from training.rows import DataError, data_folder, objects
from training.split import fingerprint

Message = dict[str, str]
Length = Callable[[list[Message], str], int]
ROLES: Final = ("system", "developer", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Example:
    """A dialogue up to an answer; a worse answer where it is a pair. `text` alone is for pre-training.

    `split`: train or validation where a dataset's version says it; else the group decides.
    """

    messages: tuple[Message, ...] = ()
    answer: str = ""
    worse: str = ""
    text: str = ""
    group: str = ""
    split: str = ""

    @property
    def key(self) -> str:
        """What must not lie on both sides of a split: the group, else the first thing said."""
        return self.group or fingerprint(self.messages[0]["content"] if self.messages else self.text)

    @property
    def said(self) -> str:
        """The whole as one text."""
        return self.text or "\n\n".join([*(m["content"] for m in self.messages), self.answer])


def gather(recipe: Recipe, *, pairs: bool = False, texts: bool = False) -> tuple[list[Example], list[Example]]:
    """Examples to learn from, and those held back, split by group.

    Raises:
        DataError: a file is missing, a line is of no known form, or nothing is left.
    """
    found = [e for source in recipe.data for e in _of(source, recipe)]
    if pairs:
        usable = [e for e in found if e.worse]
    else:
        usable = [replace(e, worse="") for e in found if e.answer or (texts and e.text)]
    examples = list({repr(e): e for e in usable}.values())
    if not examples:
        raise DataError(f"no {'pairs' if pairs else 'examples'} in {', '.join(s.name for s in recipe.data)}")
    sides: dict[bool, list[Example]] = {True: [], False: []}
    for one in examples:
        sides[one.split == "validation" or (not one.split and _point(one.key, recipe.seed) < recipe.held)].append(one)
    held, train = sides[True], sides[False]
    if not train or not held:
        raise DataError(f"{len(examples)} examples cannot be split: give more data, or another share `held`")
    return Random(recipe.seed).sample(train, len(train)), held[: recipe.held_most]


def origins(recipe: Recipe, learnt: Sequence[Example]) -> list[str]:
    """Digests for the lineage: of each version of a dataset, and of what came from files."""
    from training.dataset.version import find
    from training.dataset.version import load as load_version

    versions = [load_version(find(s.dataset)).digest for s in recipe.data if s.dataset]
    return versions + ([digest(e for e in learnt if not e.split)] if any(s.file for s in recipe.data) else [])


def digest(examples: Iterable[Example]) -> str:
    """Of what was learnt from, whatever the order."""
    each = sorted(hashlib.sha256(repr(e).encode()).hexdigest() for e in examples)
    return hashlib.sha256("".join(each).encode()).hexdigest()


def fitted(examples: Sequence[Example], most: int, length: Length) -> tuple[list[Example], int]:
    """Examples of at most `most` tokens, the oldest turns left out where need be; and how many do not fit at all."""
    kept = [e for e in (_fit(e, most, length) for e in examples) if e is not None]
    return kept, len(examples) - len(kept)


def _fit(example: Example, most: int, length: Length) -> Example | None:
    messages = list(example.messages)
    while max(length(messages, a) for a in (example.answer, example.worse) if a) > most:
        rest = messages[1:] if messages[0]["role"] != "system" else [messages[0], *messages[2:]]
        while rest and rest[-1]["role"] == "user" and rest[0]["role"] in ("assistant", "tool"):
            rest = rest[1:]
        if not any(m["role"] == "user" for m in rest) or len(rest) == len(messages):
            return None
        messages = rest
    return replace(example, messages=tuple(messages))


def last(messages: Sequence[Message]) -> str:
    """What the user said last."""
    return next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")


def pairs(examples: Sequence[Example]) -> Any:
    """A dataset in TRL's conversational preference form."""
    from datasets import Dataset

    return Dataset.from_list(
        [{"prompt": list(e.messages), "chosen": _said(e.answer), "rejected": _said(e.worse)} for e in examples]
    )


def answers(examples: Sequence[Example]) -> Any:
    """A dataset in TRL's conversational form of prompt and completion."""
    from datasets import Dataset

    return Dataset.from_list([{"prompt": list(e.messages), "completion": _said(e.answer)} for e in examples])


def unpaired(examples: Sequence[Example]) -> Any:
    """Both answers of each pair by themselves, with whether it is the better one."""
    from datasets import Dataset

    return Dataset.from_list(
        [
            {"prompt": list(e.messages), "completion": _said(answer), "label": answer is e.answer}
            for e in examples
            for answer in (e.answer, e.worse)
        ]
    )


def _said(answer: str) -> list[Message]:
    return [{"role": "assistant", "content": answer}]


def _of(source: Source, recipe: Recipe) -> list[Example]:
    found = _of_version(source, recipe) if source.dataset else _of_files(source, recipe)
    few = source.most is not None and len(found) > source.most
    return Random(recipe.seed).sample(found, source.most or 0) if few else found


def _of_version(source: Source, recipe: Recipe) -> list[Example]:
    from training.dataset.texts import materialised
    from training.dataset.version import find
    from training.dataset.version import load as load_version

    found = materialised(load_version(find(str(source.dataset))), source.feeds)
    say(f"{source.dataset}: {found.told}")
    return [
        replace(made, group=one.item.group, split=one.item.split)
        for one in found.examples
        if one.item.split in ("train", "validation") and one.item.license in recipe.licenses
        if (made := example({**one.texts, "labels": one.item.labels}))
    ]


def _of_files(source: Source, recipe: Recipe) -> list[Example]:
    file = str(source.file)
    folder = Path() if file.startswith(("/", ".")) else data_folder()
    paths = [Path(file)] if file.startswith("/") else sorted(folder.glob(file))
    if not paths or not all(p.is_file() for p in paths):
        raise DataError(f"no file {folder / file}: see `data` in the recipe, and SLUICEGATE_DATA")
    found: list[Example] = []
    for path in paths:
        for number, row in objects(path):
            license_ = row.get("license") or source.license
            if license_ is None:
                raise DataError(f"{path}:{number}: no licence. Give `license` in the row, or with the file's name")
            if license_ in recipe.licenses:
                found += _example(row, f"{path}:{number}")
    return found


def _example(row: dict[str, Any], where: str) -> list[Example]:
    try:
        made = example(row)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise DataError(f"{where}: not a dialogue, a pair or a text ({error}); see docs/llm.md") from error
    return [made] if made else []


def example(row: dict[str, Any]) -> Example | None:
    """A line of any known form; None, or one without a text, where nothing is to be learnt. Raises ValueError."""
    group = str(row.get("group") or "")
    if "chosen" in row:
        return replace(_pair(row), group=group)
    if "messages" in row:
        messages = _messages(row["messages"])
        if messages[-1]["role"] != "assistant":
            raise ValueError("the last message is not the assistant's")
        return Example(tuple(messages[:-1]), messages[-1]["content"], group=group)
    if "completion" in row:
        return Example(tuple(_messages(row["prompt"])), _answer(row["completion"]), group=group)
    if "prompt" in row:
        harmless = not any(row.get("labels", {}).values())
        prompt, response = str(row["prompt"] or ""), str(row.get("response") or "")
        if not response:
            return Example(text=prompt, group=group) if prompt else None
        return Example(tuple(_messages(prompt)), response, group=group) if prompt and harmless else None
    return Example(text=str(row["text"]), group=group)


def _pair(row: dict[str, Any]) -> Example:
    if "prompt" in row:
        messages, better, worse = _messages(row["prompt"]), _answer(row["chosen"]), _answer(row["rejected"])
    else:
        both = [_turns(row[side]) for side in ("chosen", "rejected")]
        messages = [a for a, _ in takewhile(lambda two: two[0] == two[1], zip(*both, strict=False))]
        if any(len(side) != len(messages) + 1 for side in both):
            return Example()  # two conversations, not two answers
        better, worse = both[0][-1]["content"], both[1][-1]["content"]
        worse = worse if better else ""
    if not messages or not isinstance(better, str):
        raise ValueError("a pair is a prompt and two answers")
    return Example(tuple(messages), better, worse if worse != better else "")


def _turns(said: str | list[Message]) -> list[Message]:
    if not isinstance(said, str):
        return _messages(said)
    turns: list[Message] = []
    for part in said.split("\n\nHuman:")[1:]:
        asked, *answers = part.split("\n\nAssistant:")
        turns.append({"role": "user", "content": asked.strip()})
        turns += [{"role": "assistant", "content": a.strip()} for a in answers]
    return turns


def _messages(said: str | list[Message]) -> list[Message]:
    if isinstance(said, str):
        return [{"role": "user", "content": said}]
    turns = [{"role": m["role"], "content": m["content"]} for m in said]
    if not turns or any(m["role"] not in ROLES or not isinstance(m["content"], str) for m in turns):
        raise ValueError(f"messages are of {', '.join(ROLES)}, with text")
    return turns


def _answer(said: str | list[Message]) -> str:
    return said if isinstance(said, str) else _messages(said)[-1]["content"]


def _point(key: str, seed: int) -> float:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=8).digest()) / 2**64
