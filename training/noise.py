"""Rows whose label is likely wrong, found by confident learning (Northcutt et al. 2021) with cleanlab.

sluicegate-train noise rows.jsonl --category harm --out kept.jsonl --doubtful doubtful.jsonl

What a row is said to be is held against what a lexical model says that never saw it (cross-validated TF-IDF and
logistic regression, rows of a group in one fold). Doubtful rows are written apart, the worst first, for people.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from guards.calibration import Floats
from guards.evaluation import floor
from training.rows import DataError, lines

FOLDS: Final = 5
LEAST: Final = 10  # rows of each label
Json = dict[str, Any]


def doubtful(texts: Sequence[str], labels: Sequence[int], groups: Sequence[str], seed: int = 0) -> list[int]:
    """Places of the rows whose label (0 or 1) is likely wrong, the likeliest first.

    Raises:
        DataError: a label has too few rows to learn it from.
    """
    from cleanlab.filter import find_label_issues

    given = np.asarray(labels)
    if min((given == 0).sum(), (given == 1).sum()) < LEAST:
        raise DataError(f"fewer than {LEAST} rows of a label; noise cannot be told from it")
    found = _unseen(texts, given, groups, seed)
    both = np.stack([1 - found, found], 1)
    return [int(n) for n in find_label_issues(given, both, return_indices_ranked_by="self_confidence", n_jobs=1)]


def _unseen(texts: Sequence[str], labels: Any, groups: Sequence[str], seed: int) -> Floats:
    """The probability of each row from a model that was trained on other groups."""
    from sklearn.model_selection import StratifiedGroupKFold

    found = np.zeros(len(labels))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for known, unseen in folds.split(texts, labels, groups):
        if len(set(labels[known])) < 2:
            raise DataError("a label is all in one group; noise cannot be told from it")
        model = floor.model(len(known)).fit([texts[n] for n in known], labels[known])
        found[unseen] = model.predict_proba([texts[n] for n in unseen])[:, 1]
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Raises DataError."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="sluicegate-train noise", description=__doc__, formatter_class=plain)
    parser.add_argument("rows", type=Path, help="labelled rows")
    parser.add_argument("--category", default="harm")
    parser.add_argument("--out", type=Path, required=True, help="what stays; rows without the label stay")
    parser.add_argument("--doubtful", type=Path, required=True, help="what does not")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    rows = [row for _, row in lines(options.rows)]
    labelled = [n for n, r in enumerate(rows) if r["labels"].get(options.category) in (0, 1)]
    texts = [f"{rows[n].get('prompt') or ''}\n{rows[n].get('response') or ''}" for n in labelled]
    groups = [str(rows[n].get("group") or n) for n in labelled]
    found = doubtful(texts, [rows[n]["labels"][options.category] for n in labelled], groups, options.seed)
    worst = [labelled[n] for n in found]
    _write(options.out, [row for n, row in enumerate(rows) if n not in set(worst)])
    _write(options.doubtful, [rows[n] for n in worst])
    print(f"{len(worst)} of {len(labelled)} labels are doubtful: {options.doubtful}")


def _write(path: Path, rows: Sequence[Json]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
