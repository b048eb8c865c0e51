"""Which languages of a text none of its judges was measured in. Pure."""

from collections.abc import Sequence

from guards.language import CERTAIN, LANGUAGE, code_of, measured
from guards.policy import Policy
from guards.verdict import Judgement, Passage


def unread(passage: Passage, judgements: Sequence[Judgement], policy: Policy) -> dict[str, float]:
    """The language guard's categories and scores, of languages in which a category with a rule was never measured."""
    exempt = policy.exempt.get(passage.kind, ())
    ruled = [c for c, rule in policy.rules(passage.stage).items() if c not in exempt and rule.action != "allow"]
    found: dict[str, float] = {}
    for j in judgements:
        if j.guard == LANGUAGE and j.scores:
            certain = {language: score for language, score in j.scores.by_category.items() if score >= CERTAIN}
            found |= {
                language: score
                for language, score in certain.items()
                if not all(_read(category, code_of(language), judgements, policy) for category in ruled)
            }
    return found


def _read(category: str, language: str, judgements: Sequence[Judgement], policy: Policy) -> bool:
    """Whether one of the guards was measured in a language. Those that judge characters say nothing of it."""
    known = [j.languages for j in judgements if category in j.categories and j.languages is not None]
    uncovered = policy.uncovered
    return (
        not known
        or language in uncovered.accepted_languages
        or any(measured(languages, language, category, uncovered.language_recall) for languages in known)
    )
