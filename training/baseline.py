"""What a guard has to beat: TF-IDF over words and characters, then logistic regression, one a category."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

from guards.calibration import Floats
from training.rows import Row


class Baseline:
    """Word 1-2-grams and character 3-5-grams. `with_prompt` reads the prompt of a response too."""

    def __init__(self, with_prompt: bool = False) -> None:
        self.with_prompt = with_prompt
        words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, max_features=200_000)
        chars = TfidfVectorizer(
            analyzer="char_wb", ngram_range=(3, 5), min_df=3, sublinear_tf=True, max_features=200_000
        )
        self._model: Pipeline = make_pipeline(
            FeatureUnion([("words", words), ("chars", chars)]),
            LogisticRegression(C=10, class_weight="balanced", solver="liblinear"),
        )

    def fit(self, rows: Sequence[Row], labels: NDArray[np.int64]) -> "Baseline":
        self._model.fit(self._texts(rows), labels)
        return self

    def logits(self, rows: Sequence[Row]) -> Floats:
        return np.asarray(self._model.decision_function(self._texts(rows)), np.float64)

    def _texts(self, rows: Sequence[Row]) -> list[str]:
        return [f"{r.prompt}\n{r.text}" if self.with_prompt else r.text for r in rows]
