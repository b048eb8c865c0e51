"""What a guard has to beat: the lexical floor of `guards.evaluation`, on rows, one a category."""

from collections.abc import Sequence

import numpy as np

from guards.calibration import Floats
from guards.evaluation import floor
from guards.evaluation.metrics import Labels
from training.rows import Row


class Baseline:
    """`with_prompt` reads the prompt of a response too."""

    def __init__(self, with_prompt: bool = False) -> None:
        self.with_prompt = with_prompt

    def fit(self, rows: Sequence[Row], labels: Labels) -> "Baseline":
        self._model = floor.model(len(rows)).fit(self._texts(rows), labels)
        return self

    def logits(self, rows: Sequence[Row]) -> Floats:
        return np.asarray(self._model.decision_function(self._texts(rows)), np.float64)

    def _texts(self, rows: Sequence[Row]) -> list[str]:
        return [f"{r.prompt}\n{r.text}" if self.with_prompt else r.text for r in rows]
