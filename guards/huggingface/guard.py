"""A guard over a classifier in Hugging Face's form: labels become categories, tokens become spans."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from guards.calibration import Platt, sigmoid
from guards.guard import GuardError
from guards.huggingface.folder import CONFIG, TOKENIZER, Config, config_of, digest_of, read, run_of
from guards.huggingface.spec import HuggingFaceSpec
from guards.language import ONLY_HOME
from guards.lists import whole_words
from guards.verdict import Languages, Passage, Scores, Span, Stage
from guards.windows import Window, Windows, batches, pad

MOST_TOKENS: Final = 512  # of a window, unless the spec asks for more
PIECE: Final = re.compile(r"^[BIESLU]-")  # where in an entity a token is
IN_SPAN: Final = 0.5  # a token of this probability belongs to an entity

Floats = NDArray[np.float64]


class HuggingFaceGuard:
    """`Guard` over a folder of `config.json`, `tokenizer.json` and an exported model.

    Every part of a long text is read, in overlapping windows; the worst counts. Token classifiers give spans.

    Raises:
        GuardError: a file is missing, or the spec does not fit the model.
    """

    most_chars: int | None = 8_000

    def __init__(
        self, name: str, spec: HuggingFaceSpec, folder: Path, threads: int = 1, batch_tokens: int = 4096
    ) -> None:
        self.name, self.spec, self._batch_tokens = name, spec, batch_tokens
        self.version = spec.revision[:12] if spec.revision else Path(spec.model).name
        self.languages: Languages | None = spec.languages or ONLY_HOME
        self.config = config_of(folder)
        self.tokens = _is_token_classifier(spec, self.config)
        self._sigmoid = _is_sigmoid(spec, self.config, self.tokens)
        self._columns = _columns(spec.labels, self.config.id2label, pieces=self.tokens)
        self._calibrations = {c: Platt(k.slope, k.intercept) for c, k in spec.calibration.items()}
        self._beginnings = {i for i, label in self.config.id2label.items() if label.startswith(("B-", "S-", "U-"))}
        tokenizer = read(folder / TOKENIZER, "a fast tokenizer is needed: tokenizer.save_pretrained makes one")
        self.digest = digest_of(spec, folder, tokenizer)
        self._windows = Windows(
            tokenizer.decode(),
            _window_tokens(spec, self.config),
            spec.overlap_tokens,
            spec.prompt_tokens,
            placed=self.tokens,
        )
        self.backend, self._run = run_of(spec, folder, threads, tokens=self.tokens)

    def covers(self, stage: Stage) -> frozenset[str]:
        return frozenset(self._columns) if stage in self.spec.stages else frozenset()

    def judge(self, passages: Sequence[Passage]) -> list[Scores]:
        asked = [(i, p) for i, p in enumerate(passages) if p.stage in self.spec.stages]
        scores = [Scores({}) for _ in passages]
        judged = (self._spans if self.tokens else self._whole)([self._read(p) for _, p in asked])
        for (i, _), found in zip(asked, judged, strict=True):
            scores[i] = found
        return scores

    def _read(self, passage: Passage) -> Passage:
        return passage if self.spec.with_prompt else replace(passage, kind="prompt", prompt="")

    def _whole(self, passages: Sequence[Passage]) -> list[Scores]:
        """The highest probability of each category over the windows of each passage."""
        worst = np.zeros((len(passages), len(self._columns)))
        for batch, probabilities in self._probabilities(passages):
            np.maximum.at(worst, [w.owner for w in batch], probabilities)
        return [Scores(dict(zip(self._columns, map(float, row), strict=True))) for row in worst]

    def _spans(self, passages: Sequence[Passage]) -> list[Scores]:
        """Entities that end after `since`; a category's score is that of its surest token."""
        scores = [dict.fromkeys(self._columns, 0.0) for _ in passages]
        spans: list[set[Span]] = [set() for _ in passages]
        for batch, probabilities in self._probabilities(passages):
            for window, rows in zip(batch, probabilities, strict=True):
                passage, found = passages[window.owner], scores[window.owner]
                for span, score in self._entities(window, rows, passage):
                    found[span.category] = max(found[span.category], score)
                    spans[window.owner].add(span)
        return [Scores(s, tuple(_joined(found))) for s, found in zip(scores, spans, strict=True)]

    def _entities(self, window: Window, rows: Floats, passage: Passage) -> Iterator[tuple[Span, float]]:
        """`rows`: (tokens, categories + 1), the last column 1 where a token begins an entity."""
        assert window.places is not None  # noqa: S101  # asked for in __init__
        for column, category in enumerate(self._columns):
            start = end = 0
            score = 0.0
            for (first, last), row in zip(window.places.tolist(), rows.tolist(), strict=False):
                inside = last > first and row[column] >= IN_SPAN
                if score and not (inside and not row[-1]):
                    yield from _entity(passage, start, end, category, score)
                    score = 0.0
                if inside:
                    start, end, score = (start if score else first), last, max(score, row[column])
            if score:
                yield from _entity(passage, start, end, category, score)

    def _probabilities(self, passages: Sequence[Passage]) -> Iterator[tuple[list[Window], Floats]]:
        """Calibrated probabilities by category: (windows, categories), or (windows, tokens, categories + 1)."""
        for batch in batches(self._windows.cut(passages), self._batch_tokens):
            try:
                logits = np.asarray(self._run(pad(batch)), np.float64)
            except Exception as error:  # the runtimes raise bare RuntimeError and their own
                raise GuardError(f"{self.name}: inference failed: {type(error).__name__}") from error
            if logits.shape[-1] != len(self.config.id2label) or not np.isfinite(logits).all():
                raise GuardError(
                    f"{self.name}: the model answered {logits.shape[-1]} numbers a row, or not finite ones"
                )
            yield batch, self._of_categories(logits)

    def _of_categories(self, logits: Floats) -> Floats:
        labels = sigmoid(logits) if self._sigmoid else _softmax(logits)
        pooled = (labels[..., c].max(-1) if self._sigmoid else labels[..., c].sum(-1) for c in self._columns.values())
        columns = [self._calibrated(c, p) for c, p in zip(self._columns, pooled, strict=True)]
        if self.tokens:
            columns.append(np.isin(logits.argmax(-1), [*self._beginnings]).astype(float))
        return np.stack(columns, axis=-1)

    def _calibrated(self, category: str, probabilities: Floats) -> Floats:
        if (platt := self._calibrations.get(category)) is None:
            return np.minimum(probabilities, 1.0)
        clipped = np.clip(probabilities, 1e-9, 1 - 1e-9)
        return platt(np.log(clipped / (1 - clipped)))


def _is_token_classifier(spec: HuggingFaceSpec, config: Config) -> bool:
    tasks = {"token": "ForTokenClassification", "sequence": "ForSequenceClassification"}
    found = [t for t, ending in tasks.items() if any(a.endswith(ending) for a in config.architectures)]
    if spec.task is None and len(found) != 1:
        raise GuardError(f"{CONFIG} names {list(config.architectures)}: say `task: sequence` or `task: token`")
    return (spec.task or found[0]) == "token"


def _is_sigmoid(spec: HuggingFaceSpec, config: Config, tokens: bool) -> bool:
    """As transformers' own pipelines do it; entities exclude each other."""
    if spec.activation:
        return spec.activation == "sigmoid"
    if config.problem_type == "regression":
        raise GuardError("the model's problem_type is regression: its numbers are no probabilities")
    return not tokens and (config.problem_type == "multi_label_classification" or len(config.id2label) == 1)


def _columns(labels: Mapping[str, str], id2label: Mapping[int, str], *, pieces: bool) -> dict[str, list[int]]:
    """Category -> the model's labels that mean it. `PER` stands for `B-PER` and `I-PER`."""
    if sorted(id2label) != [*range(len(id2label))]:
        raise GuardError(f"{CONFIG}: id2label does not count from 0")
    columns: dict[str, list[int]] = {}
    used: set[str] = set()
    for column, label in sorted(id2label.items()):
        name = label if label in labels or not pieces else PIECE.sub("", label)
        if name in labels:
            used.add(name)
            columns.setdefault(labels[name], []).append(column)
    if unknown := sorted(labels.keys() - used):
        raise GuardError(f"labels {unknown}: the model has {[id2label[i] for i in sorted(id2label)]}")
    return columns


def _window_tokens(spec: HuggingFaceSpec, config: Config) -> int:
    most = config.max_position_embeddings or MOST_TOKENS
    most -= most % 8  # RoBERTa's 514 positions are for 512 tokens
    if spec.max_tokens is not None and spec.max_tokens > most:
        raise GuardError(f"max_tokens: the model reads {most} at most")
    tokens = spec.max_tokens or min(most, MOST_TOKENS)
    if spec.overlap_tokens + (spec.prompt_tokens if spec.with_prompt else 0) >= tokens - 8:
        raise GuardError(f"overlap_tokens and prompt_tokens leave nothing of a window of {tokens} tokens")
    return tokens


def _entity(passage: Passage, start: int, end: int, category: str, score: float) -> Iterator[tuple[Span, float]]:
    start, end = whole_words(passage.text, start, end)
    if end > passage.since:
        yield Span(start, end, category), score


def _joined(spans: Iterable[Span]) -> list[Span]:
    """In order; what one window saw whole and another in part is one span."""
    joined: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.category, s.start, s.end)):
        if joined and joined[-1].category == span.category and span.start < joined[-1].end:
            joined[-1] = replace(joined[-1], end=max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return sorted(joined, key=lambda s: (s.start, s.end, s.category))


def _softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True))
