"""A support bundle: what somebody far away needs to understand an installation. No text of users, no secret, no key."""

import asyncio
import io
import json
import os
import platform
import tarfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr
from sqlalchemy.engine import make_url

from service.gate.exchange import Json
from service.operating.doctor import examine
from service.settings import Settings

NOTE: Final = """Made by `sluicegate support`. It holds the doctor's findings, settings without secrets,
versions of packages, and metrics of the running gateway if it could be asked.
It holds no prompt, no answer, no key and no name of a caller. Look through it before you send it.
"""


async def bundle(out: Path, metrics: str) -> list[str]:
    """Writes a .tar.gz, readable by its owner alone; returns the names of what is in it.

    Args:
        metrics: the exposition of a running gateway; may be empty.

    Raises:
        FileExistsError: `out` is there already.
    """
    findings = [asdict(found) async for found in examine()]
    held = {
        "README.txt": NOTE,
        "doctor.json": _json(findings),
        "settings.json": _json(told(Settings())),
        "versions.json": _json(_versions()),
        "metrics.txt": metrics,
    }
    await asyncio.to_thread(_write, out, held)
    return list(held)


def _write(out: Path, held: Mapping[str, str]) -> None:
    with open(out, "xb", opener=_private) as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, text in held.items():
            info = tarfile.TarInfo(f"sluicegate-support/{name}")
            info.size, info.mtime = len(text.encode()), int(time.time())
            tar.addfile(info, io.BytesIO(text.encode()))


def told(settings: Settings) -> dict[str, Any]:
    """Settings as they may be shown: of a secret only whether it is set, of a URL no user and no password."""
    return {name: _shown(name, getattr(settings, name)) for name in sorted(Settings.model_fields)}


def _shown(name: str, value: object) -> object:
    match value:
        case SecretStr():
            return "set"
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {str(k): str(v) for k, v in value.items()}
        case _ if name == "database_url":
            return make_url(str(value)).render_as_string(hide_password=True)
        case _ if "@" in str(value) and "://" in str(value):
            return "set, with a password in it"
        case _ if name == "engine_args":
            return "set" if value else ""  # may carry tokens
        case _:
            return str(value)


def _versions() -> Json:
    packages = {d.metadata["Name"]: d.version for d in distributions()}
    return {"python": platform.python_version(), "system": platform.platform(), "packages": packages}


def _json(value: object) -> str:
    return json.dumps(value, indent=1, default=str) + "\n"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
