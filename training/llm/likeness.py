"""How near answers come to given ones: BLEU and chrF (sacrebleu), ROUGE-L (rouge-score), exact match."""

import re
from collections.abc import Sequence

from guards.evaluation.metrics import Interval, wilson
from training.llm.intervals import mean

DRAWS = 200


def likeness(answers: Sequence[str], wanted: Sequence[str]) -> dict[str, Interval]:
    """Measure -> value, all from 0 to 1; BLEU and chrF of the whole, resampled by sacrebleu, the others means."""
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import BLEU, CHRF

    rouge = RougeScorer(["rougeL"], use_stemmer=False)
    pairs = list(zip(wanted, answers, strict=True))
    same = sum(_plain(a) == _plain(b) for a, b in pairs)
    return {
        "bleu": _resampled(BLEU(), answers, wanted),
        "chrf": _resampled(CHRF(), answers, wanted),
        "rouge_l": mean([rouge.score(want, said)["rougeL"].fmeasure for want, said in pairs]),
        "exact": wilson(same, len(pairs)),
    }


def _resampled(metric: object, answers: Sequence[str], wanted: Sequence[str]) -> Interval:
    found = metric.corpus_score(list(answers), [list(wanted)], n_bootstrap=DRAWS)  # type: ignore[attr-defined]
    middle, half = float(found._mean) / 100, float(found._ci) / 100  # sacrebleu gives them no public name
    return Interval(found.score / 100, max(0.0, middle - half), min(1.0, middle + half))


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
