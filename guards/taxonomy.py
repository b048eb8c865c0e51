"""Categories: what they mean and what others call them. The words of policies, verdicts, labels and metrics. Pure.

Hazards are those of MLCommons AILuminate with the codes that Llama Guard 3 and 4 answer: see docs/taxonomy.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

Group = Literal["umbrella", "hazard", "conduct", "attack", "data", "own"]
Hazard = Literal["S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "S10", "S11", "S12", "S13", "S14"]
OpenAI = Literal[
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
]
OPENAI: Final[tuple[OpenAI, ...]] = get_args(OpenAI)
NAME: Final = r"^[a-z][a-z0-9_]{1,31}$"
MOST_OWN: Final = 64  # each is a label of metrics


class TaxonomyError(ValueError):
    """Users' own categories cannot be used. The message lists every fault."""


@dataclass(frozen=True, slots=True)
class Category:
    """One category.

    `hazard` is its MLCommons code, `openai` the category of OpenAI's moderation API that comes closest, `spans` the
    hazards that an umbrella covers. `restricted`: child exploitation, kept away from all but a few reviewers.
    `urgent`: somebody may be about to be hurt.
    """

    name: str
    description: str
    group: Group = "own"
    hazard: Hazard | None = None
    openai: OpenAI | None = None
    spans: tuple[Hazard, ...] = ()
    restricted: bool = False
    urgent: bool = False


_CRIMES: Final[tuple[Hazard, ...]] = ("S1", "S2", "S3", "S4", "S7", "S9", "S11", "S14")

_TABLE: Final = (
    Category(
        "harm",
        "a request for, or help with, something that hurts people or breaks the law",
        "umbrella",
        openai="illicit",
        spans=_CRIMES,
    ),
    Category(
        "response_harm",
        "an answer that gives harmful help instead of declining",
        "umbrella",
        openai="illicit",
        spans=_CRIMES,
    ),
    Category(
        "violent_crimes",
        "murder, assault, terrorism, kidnapping, animal cruelty",
        "hazard",
        "S1",
        "illicit/violent",
    ),
    Category("nonviolent_crimes", "fraud, theft, drugs, trafficking in goods, hacking", "hazard", "S2", "illicit"),
    Category("sex_crimes", "sexual assault, sexual harassment, trafficking", "hazard", "S3", "illicit"),
    Category(
        "child_exploitation",
        "sexual abuse of children, and anything that depicts or enables it",
        "hazard",
        "S4",
        "sexual/minors",
        restricted=True,
    ),
    Category("defamation", "false claims about a real person that would hurt their name", "hazard", "S5"),
    Category("specialised_advice", "medical, legal or financial advice that needs a professional", "hazard", "S6"),
    Category("privacy", "finding, exposing or spying on a person's private life", "hazard", "S7"),
    Category("intellectual_property", "copies of protected works, help to get round protection", "hazard", "S8"),
    Category(
        "weapons",
        "chemical, biological, radiological, nuclear and high-yield explosive weapons",
        "hazard",
        "S9",
        "illicit/violent",
    ),
    Category(
        "hate",
        "demeans people for who they are: religion, ethnicity, gender, disability, ...",
        "hazard",
        "S10",
        "hate",
    ),
    Category(
        "self_harm",
        "suicide, self-injury, disordered eating",
        "hazard",
        "S11",
        "self-harm",
        urgent=True,
    ),
    Category("sexual", "sexual content about adults", "hazard", "S12", "sexual"),
    Category("elections", "false information about how, when or where to vote", "hazard", "S13"),
    Category("code_abuse", "attacks on the machine that runs a model's code", "hazard", "S14", "illicit"),
    Category("toxicity", "insults, threats, harassment, obscenity", "conduct", openai="harassment"),
    Category("harassment", "insults or torments a person", "conduct", openai="harassment"),
    Category("threats", "announces violence to a person", "conduct", openai="harassment/threatening", urgent=True),
    Category("violence", "depicts death, violence or injury", "conduct", openai="violence"),
    Category("profanity", "coarse language, aimed at nobody", "conduct"),
    Category("injection", "text that tries to override the instructions it is embedded in", "attack"),
    Category("jailbreak", "a prompt made to get round a model's rules: role play, disguise, pressure", "attack"),
    Category("pii", "personal data of an identifiable person", "data"),
    Category("email", "an e-mail address", "data"),
    Category("phone", "a telephone number", "data"),
    Category("card", "a payment card number whose checksum is right", "data"),
    Category("iban", "a bank account number whose checksum is right", "data"),
    Category("secret", "a key, token or password that opens something", "data"),
)

CATEGORIES: Final[Mapping[str, Category]] = MappingProxyType({c.name: c for c in _TABLE})
_OF_HAZARD: Final[Mapping[str, str]] = {c.hazard: c.name for c in _TABLE if c.hazard}
_OF_OPENAI: Final[Mapping[str, str]] = {
    "harassment": "harassment",
    "harassment/threatening": "threats",
    "hate": "hate",
    "hate/threatening": "hate",
    "illicit": "nonviolent_crimes",
    "illicit/violent": "violent_crimes",
    "self-harm": "self_harm",
    "self-harm/instructions": "self_harm",
    "self-harm/intent": "self_harm",
    "sexual": "sexual",
    "sexual/minors": "child_exploitation",
    "violence": "violence",
    "violence/graphic": "violence",
}


def of_llama_guard(code: str) -> str:
    """The category of a code that Llama Guard 3 or 4 answers, `S1` to `S14`. Raises ValueError for any other."""
    if (name := _OF_HAZARD.get(code.strip().upper())) is None:
        raise ValueError(f"{code[:16]!r} is no hazard code; known: S1 to S14")
    return name


def of_openai(name: str) -> str:
    """The category of one of OpenAI's moderation categories. Raises ValueError for an unknown one."""
    if name not in _OF_OPENAI:
        raise ValueError(f"{name[:32]!r} is none of OpenAI's moderation categories: {', '.join(OPENAI)}")
    return _OF_OPENAI[name]


def to_openai(scores: Mapping[str, float], known: Mapping[str, Category] = CATEGORIES) -> dict[str, float]:
    """OpenAI's moderation categories that `scores` say something about; the highest score where several do.

    A category that is part of another, as `hate/threatening` of `hate`, counts for both. One that nobody scored is left
    out: whoever shows it as 0 says so.
    """
    found: dict[str, float] = {}
    for name, score in scores.items():
        if name in known and (theirs := known[name].openai):
            for category in (theirs, theirs.partition("/")[0]):
                found[category] = max(score, found.get(category, 0.0))
    return found


class OwnCategory(BaseModel):
    """A category that users declare, in a policy file under `categories`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    description: str = Field(min_length=1, max_length=200, description="what it means, in a sentence")
    hazard: Hazard | None = Field(None, description="MLCommons code of the hazard it is part of")
    openai: OpenAI | None = Field(None, description="OpenAI moderation category it is shown as")
    restricted: bool = Field(False, description="seen by reviewers of restricted items only, never exported")
    urgent: bool = Field(False, description="somebody may be about to be hurt: reviewed first")


OwnName = Annotated[str, StringConstraints(pattern=NAME)]
_OWN: Final = TypeAdapter(Annotated[dict[OwnName, OwnCategory], Field(max_length=MOST_OWN)])


def parse_categories(content: Mapping[str, Any]) -> dict[str, Category]:
    """Users' own categories from parsed YAML or JSON: `{name: {description: ..., hazard: ..., openai: ...}}`.

    Values may be `OwnCategory` already.

    Raises:
        TaxonomyError: a name is wrong or taken, or a field is wrong, unknown or missing.
    """
    try:
        own = _OWN.validate_python(content)
    except ValidationError as error:
        raise TaxonomyError("; ".join(_fault(e["loc"], e["msg"]) for e in error.errors())) from error
    if taken := sorted(own.keys() & CATEGORIES.keys()):
        raise TaxonomyError(f"{', '.join(taken)}: built in already; choose another name")
    return {name: Category(name, **category.model_dump()) for name, category in own.items()}


def _fault(place: Iterable[int | str], message: str) -> str:
    return ".".join(str(p) for p in place if p != "[key]") + f": {message}"
