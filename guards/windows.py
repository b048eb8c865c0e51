"""Long texts: overlapping token windows, so that every part is read however long the text is."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from guards.normalize import CONTEXT_CHARS, Words, views
from guards.verdict import Passage

CHARS_PER_TOKEN = 16  # generous: English has 4.5; bounds what is tokenised again while a text streams
_READ_AS = {0xE0000 + code: code for code in range(0x20, 0x7F)}  # invisible "tag" letters spell ASCII to an LLM
_READ_AS |= dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)  # half a surrogate pair cannot be encoded


@dataclass(frozen=True, slots=True)
class Window:
    """Token ids of one window of passage `owner`, at most `max_tokens` of them; `types` 1 marks the judged segment.

    `places`, shape (tokens, 2), where asked for: from and to which character of the passage a token goes; (0, 0) for
    one that is not of its text.
    """

    owner: int
    ids: NDArray[np.int64]
    types: NDArray[np.int64]
    places: NDArray[np.int64] | None = None


class Windows:
    """Cuts passages into windows. A response is paired with the tail of the prompt it answers.

    A disguised text is cut as it stands and as it reads without its disguise: `guards.normalize`. Not so where `placed`
    asks for the places of tokens, which a reading has not.

    Windows are laid from the end of the text backwards: in a stream the newest text always sits in one full window.
    """

    def __init__(
        self, tokenizer_json: str, max_tokens: int, overlap_tokens: int, prompt_tokens: int, *, placed: bool = False
    ) -> None:
        self.max_tokens, self.prompt_tokens, self._placed = max_tokens, prompt_tokens, placed
        self._alone = _tokenizer(tokenizer_json)
        self._alone.enable_truncation(max_tokens, stride=overlap_tokens, direction="left")
        self._pair = _tokenizer(tokenizer_json)
        self._pair.enable_truncation(max_tokens, stride=overlap_tokens, strategy="only_second", direction="left")
        self._prompt = _tokenizer(tokenizer_json)
        self._prompt.enable_truncation(prompt_tokens, direction="left")
        self._words = Words(self._alone.get_vocab())

    def cut(self, passages: Sequence[Passage]) -> list[Window]:
        """All windows that reach past `since`, at least the last one of each passage."""
        return [window for owner, passage in enumerate(passages) for window in self._cut_one(owner, passage)]

    def _cut_one(self, owner: int, passage: Passage) -> Iterator[Window]:
        skipped = max(0, passage.since - CHARS_PER_TOKEN * self.max_tokens)
        text = passage.text[skipped:]
        last = self._encode(text, passage)
        for nth, encoding in enumerate([last, *last.overflowing]):
            if nth == 0 or _end(encoding) + skipped > passage.since:
                yield _window(owner, encoding, skipped if self._placed else None)
        for view in () if self._placed else views(text, self._words):
            if skipped + view.end + CONTEXT_CHARS > passage.since:
                last = self._encode(view.text, passage)
                yield from (_window(owner, encoding) for encoding in [last, *last.overflowing])

    def _encode(self, text: str, passage: Passage) -> Encoding:
        text = text.translate(_READ_AS)
        if passage.stage == "input":
            return self._alone.encode(text)
        return self._pair.encode(self._tail(passage.prompt), text)

    def _tail(self, prompt: str) -> str:
        """The last `prompt_tokens` tokens of a prompt, as text."""
        near = prompt[-CHARS_PER_TOKEN * self.prompt_tokens :].translate(_READ_AS)
        kept = self._prompt.encode(near, add_special_tokens=False)
        return near[kept.offsets[0][0] :] if kept.offsets else ""


def batches(windows: Iterable[Window], batch_tokens: int) -> Iterator[list[Window]]:
    """Windows of like length together, longest first; a batch holds at most `batch_tokens` tokens with its padding."""
    batch: list[Window] = []
    for window in sorted(windows, key=lambda w: len(w.ids), reverse=True):
        if batch and len(batch[0].ids) * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


def pad(batch: Sequence[Window], multiple: int = 8) -> dict[str, NDArray[np.int64]]:
    """Model inputs, each of shape (windows, tokens). Lengths are rounded up so that compiled kernels are used again."""
    length = -(-max(len(w.ids) for w in batch) // multiple) * multiple
    ids, mask, types = (np.zeros((len(batch), length), np.int64) for _ in range(3))
    for row, window in enumerate(batch):
        size = len(window.ids)
        ids[row, :size], mask[row, :size], types[row, :size] = window.ids, 1, window.types
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def _tokenizer(body: str) -> Tokenizer:
    tokenizer = Tokenizer.from_str(body)
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # "[SEP]" typed by a user is text, not a separator
    return tokenizer


def _window(owner: int, encoding: Encoding, begin: int | None = None) -> Window:
    """`begin`: where the encoded text begins in the passage, if the places of its tokens are wanted."""
    ids, types = np.array(encoding.ids, np.int64), np.array(encoding.type_ids, np.int64)
    if begin is None:
        return Window(owner, ids, types)
    judged = np.array([s == encoding.n_sequences - 1 for s in encoding.sequence_ids])
    places = np.where(judged[:, None], np.array(encoding.offsets, np.int64) + begin, 0)
    return Window(owner, ids, types, places)


def _end(encoding: Encoding) -> int:
    """Where the judged segment ends, in characters of the encoded text."""
    judged = max(encoding.type_ids)
    return max(
        (stop for (_, stop), kind in zip(encoding.offsets, encoding.type_ids, strict=True) if kind == judged), default=0
    )
