"""What a guard has to beat: TF-IDF over words and characters, then logistic regression. Needs scikit-learn."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

from guards.calibration import Floats
from guards.evaluation.metrics import Labels, Ranking
from guards.evaluation.rows import Task, plain
from guards.verdict import Passage

FOLDS: Final = 5
FEW: Final = 200  # rows, below which every n-gram counts
MOST_CHARS: Final = 3_000_000  # of training texts: a minute of one core
Texts = Callable[[Sequence[Passage]], list[str]]


def model(rows: int) -> Pipeline:
    rare = (2, 3) if rows >= FEW else (1, 1)
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=rare[0], sublinear_tf=True, max_features=200_000)
    chars = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), min_df=rare[1], sublinear_tf=True, max_features=200_000
    )
    both = FeatureUnion([("words", words), ("chars", chars)])
    return make_pipeline(both, LogisticRegression(C=10, class_weight="balanced", solver="liblinear"))


def cross_validated(task: Task, seed: int = 0) -> Floats | None:
    """Probabilities of each row from a floor trained on the other folds of the same set; groups stay together.

    It has seen texts of the set's own kind, which the guard has not: a hard floor. None: too few rows or groups.
    """
    folds = min(FOLDS, int(min(task.labels.sum(), (1 - task.labels).sum())), int(task.groups.max()) + 1)
    if folds < 2:
        return None
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    parts = list(split.split(task.labels, task.labels, task.groups))
    if any(len(set(task.labels[train].tolist())) < 2 for train, _ in parts):
        return None

    def out_of_fold(texts: Texts) -> Floats:
        found, given = np.zeros(len(task.labels)), np.array(texts(task.passages), object)
        for train, test in parts:
            found[test] = _fitted(given[train].tolist(), task.labels[train], given[test].tolist())
        return found

    return _better(out_of_fold, task)


def trained(task: Task, train: Task, seed: int = 0, most_chars: int = MOST_CHARS) -> Floats:
    """Probabilities from a floor trained on rows of `train`, drawn at random, none of them a text of the set."""
    known = {plain(p.text) for p in task.passages}
    free = np.array([nth for nth, p in enumerate(train.passages) if plain(p.text) not in known])
    drawn = np.random.default_rng(seed).permutation(free)
    chars = np.cumsum([len(train.passages[i].text) for i in drawn])
    rows = np.sort(drawn[chars <= most_chars])

    def applied(texts: Texts) -> Floats:
        return _fitted(texts([train.passages[i] for i in rows]), train.labels[rows], texts(task.passages))

    return _better(applied, task)


def _fitted(texts: Sequence[str], labels: Labels, asked: Sequence[str]) -> Floats:
    fitted = model(len(texts)).fit(texts, labels)
    return np.asarray(fitted.predict_proba(asked)[:, 1], np.float64)


def _better(score: Callable[[Texts], Floats], task: Task) -> Floats:
    """Of the judged text alone and the text after its prompt, the one that does better on the set itself counts."""
    alone = score(lambda passages: [p.text for p in passages])
    if not any(p.prompt for p in task.passages) or not task.both_labels:
        return alone
    paired = score(lambda passages: [f"{p.prompt}\n{p.text}" for p in passages])
    return max(alone, paired, key=lambda scores: Ranking(scores, task.labels).curve().auprc())
