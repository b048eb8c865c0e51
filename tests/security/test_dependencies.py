"""What is installed with the service: under which licences."""

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement

ALLOWED = re.compile(
    r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|Python-2\.0|MPL|Mozilla|Unlicense|0BSD|CC0|HPND|ZLIB|Zlib|CNRI",
    re.I,
)
WEAK_COPYLEFT = {  # used as they come, as libraries: LGPL asks for no more than that they can be replaced
    "python-stdnum": "LGPL",
}


def needed(name: str, seen: dict[str, Distribution]) -> None:
    """The distributions that a package needs to run, itself first."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen:
        return
    try:
        seen[key] = distribution(name)
    except PackageNotFoundError:
        return
    for line in seen[key].requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needed(requirement.name, seen)


def licence(of: Distribution) -> str:
    told = [of.metadata.get("License-Expression") or "", (of.metadata.get("License") or "")[:200]]
    told += [c for c in of.metadata.get_all("Classifier") or () if c.startswith("License")]
    return "; ".join(filter(None, told))


def test_licences_are_known_and_allowed():
    """Every package that the gateway runs with has a licence that lets anybody use and ship it."""
    seen: dict[str, Distribution] = {}
    needed("sluicegate", seen)
    assert len(seen) > 40
    faults = {}
    for name, found in seen.items():
        said = licence(found)
        if WEAK_COPYLEFT.get(name, "\0") in said:
            continue
        if not ALLOWED.search(said) or re.search(r"\bA?GPL", said):
            faults[name] = said or "no licence is told"
    assert faults == {}


@pytest.mark.parametrize("name", WEAK_COPYLEFT)
def test_exceptions_are_still_needed(name):
    """A package that is excepted is one that is used, under the licence that is written beside it."""
    assert WEAK_COPYLEFT[name] in licence(distribution(name))
