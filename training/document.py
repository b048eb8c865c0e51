"""YAML files of this package, checked before anything starts."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from guards import document
from training.rows import DataError

M = TypeVar("M", bound=BaseModel)


def load(model: type[M], path: Path) -> M:
    """A file as a `model`. Raises DataError that lists every fault with its line."""
    try:
        return document.validated(model, _text(path), str(path))
    except document.DocumentError as error:
        raise DataError(str(error)) from error


def fields(path: Path) -> dict[str, Any]:
    """What a file says, for options to go before it. Raises DataError."""
    try:
        found, _, twice = document.read(_text(path), str(path))
    except document.DocumentError as error:
        raise DataError(str(error)) from error
    if twice:
        raise DataError(document.listed(twice, str(path)))
    if not isinstance(found, dict):
        raise DataError(f"{path}: should be fields with values, `name: value`")
    return found


def checked(model: type[M], given: dict[str, Any], where: str) -> M:
    """What `fields` and options say, as a `model`. Raises DataError that lists every fault."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        faults = ((".".join(map(str, e["loc"])), document.PLAIN.get(e["type"], e["msg"])) for e in error.errors())
        raise DataError(f"{where}:" + "".join(f"\n  {name or '(whole)'}: {why}" for name, why in faults)) from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8") from error
