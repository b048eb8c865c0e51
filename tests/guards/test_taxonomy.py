"""Categories: complete, mapped both ways, explained, and open to users' own."""

import re
from pathlib import Path

import pytest
import yaml

from guards.taxonomy import (
    CATEGORIES,
    NAME,
    OPENAI,
    Category,
    TaxonomyError,
    of_llama_guard,
    of_openai,
    parse_categories,
    to_openai,
)

DOCUMENT = (Path(__file__).parents[2] / "docs" / "taxonomy.md").read_text(encoding="utf-8")
FIRST = {"harm", "response_harm", "injection", "toxicity", "hate", "pii", "email", "phone", "card", "iban", "secret"}


def test_names_are_what_they_were():
    """Names that stored verdicts and labels bear are still known; every name fits a metric label."""
    assert CATEGORIES.keys() >= FIRST
    assert all(re.fullmatch(NAME, name) and name == category.name for name, category in CATEGORIES.items())


def test_every_hazard_has_one_category():
    """S1 to S14 each name exactly one category, and that category names them."""
    codes = [f"S{n}" for n in range(1, 15)]
    assert [CATEGORIES[of_llama_guard(code)].hazard for code in codes] == codes
    assert sorted(c.hazard for c in CATEGORIES.values() if c.hazard) == sorted(codes)
    assert of_llama_guard(" s10\n") == "hate"


@pytest.mark.parametrize("code", ["S0", "S15", "", "safe", "S1,S2"])
def test_an_unknown_code_is_no_category(code):
    """What Llama Guard does not document is an error, never a category that comes near."""
    with pytest.raises(ValueError, match="no hazard code"):
        of_llama_guard(code)


def test_openai_names_come_back():
    """Each of OpenAI's categories is read as one of ours, shown again within the same family; others are errors."""
    for name in OPENAI:
        family = name.partition("/")[0]
        assert any(shown.startswith((family, "violence")) for shown in to_openai({of_openai(name): 1.0}))
    with pytest.raises(ValueError, match="none of OpenAI's"):
        of_openai("vibes")


def test_scores_are_shown_in_openais_words():
    """The highest score wins, a part counts for its whole, and nothing is said of what nobody scored."""
    shown = to_openai({"threats": 0.4, "toxicity": 0.6, "card": 1.0, "unheard_of": 1.0})
    assert shown == {"harassment/threatening": 0.4, "harassment": 0.6}
    own = parse_categories({"gambling": {"description": "bets", "openai": "illicit"}})
    assert to_openai({"gambling": 0.3}, {**CATEGORIES, **own}) == {"illicit": 0.3}


def test_only_child_exploitation_is_restricted_and_imminent_harm_urgent():
    """The restricted queue and the escalation hear of the categories they are for, and of no others."""
    assert [c.name for c in CATEGORIES.values() if c.restricted] == ["child_exploitation"]
    assert {c.name for c in CATEGORIES.values() if c.urgent} == {"self_harm", "threats"}


FAULTS = [
    ({"Gambling": {"description": "x"}}, "Gambling: String should match pattern"),
    ({"a b": {"description": "x"}}, "a b: String should match pattern"),
    ({"x" * 33: {"description": "x"}}, "String should match pattern"),
    ({"hate": {"description": "mine"}}, "hate: built in already"),
    ({"gambling": {}}, "gambling.description: Field required"),
    ({"gambling": {"description": ""}}, "gambling.description: String should have at least 1"),
    ({"gambling": {"description": "x", "hazard": "S99"}}, "gambling.hazard: Input should be 'S1'"),
    ({"gambling": {"description": "x", "openai": "vibes"}}, "gambling.openai: Input should be 'harassment'"),
    ({"gambling": {"description": "x", "colour": "red"}}, "gambling.colour: Extra inputs"),
    ({"gambling": "bets"}, "gambling: Input should be a valid dictionary"),
    (["gambling"], "Input should be a valid dictionary"),
    ({f"own_{n}": {"description": "x"} for n in range(65)}, "at most 64 items"),
]


@pytest.mark.parametrize(("content", "fault"), FAULTS, ids=range(len(FAULTS)))
def test_faults_of_own_categories_are_named(content, fault):
    """A category of one's own that cannot be used is refused with its name, the field and what is wrong."""
    with pytest.raises(TaxonomyError) as refused:
        parse_categories(content)
    assert fault in str(refused.value)


def test_documented_example_is_usable():
    """The example in docs/taxonomy.md is a category."""
    (example,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    own = parse_categories(yaml.safe_load(example)["categories"])
    assert own == {"gambling": Category("gambling", "offers bets or says how to place them", "own", "S2", "illicit")}


def test_document_is_the_table():
    """docs/taxonomy.md has a row for every category with what it maps to and means, and no others."""
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", DOCUMENT, re.MULTILINE)
    assert rows == [(c.name, " | ".join(row(c))) for c in CATEGORIES.values()]


def row(c: Category) -> tuple[str, ...]:
    marks = [word for word in ("restricted", "urgent") if getattr(c, word)]
    hazards = ", ".join(c.spans) or c.hazard or ""
    return c.group, hazards, c.openai or "", c.description + (f" (**{', '.join(marks)}**)" if marks else "")
