"""Which languages of a text none of its judges was measured in. Pure."""

from collections.abc import Iterable, Sequence

from guards.language import CERTAIN, LANGUAGE, code_of, measured
from guards.policy import Policy
from guards.verdict import Judgement, Languages, Passage


def unread(passage: Passage, judgements: Sequence[Judgement], policy: Policy) -> dict[str, float]:
    """The language guard's categories and scores, of languages in which a category with a rule was never measured."""
    exempt = policy.exempt.get(passage.kind, ())
    ruled = [c for c, rule in policy.rules(passage.stage).items() if c not in exempt and rule.action != "allow"]
    known = {c: [j.languages for j in judgements if c in j.categories] for c in ruled}
    return {
        language: score
        for j in judgements
        if j.guard == LANGUAGE and j.scores
        for language, score in j.scores.by_category.items()
        if score >= CERTAIN and not all(reads(code_of(language), c, known[c], policy) for c in ruled)
    }


def reads(language: str, category: str, known: Iterable[Languages | None], policy: Policy) -> bool:
    """Whether of the guards that judge a category one was measured in a language. None: it judges characters.

    Guards that judge characters say nothing of a language, unless nobody else judges the category.
    """
    models = [languages for languages in known if languages is not None]
    uncovered = policy.uncovered
    return (
        not models
        or language in uncovered.accepted_languages
        or any(measured(languages, language, category, uncovered.language_recall) for languages in models)
    )
