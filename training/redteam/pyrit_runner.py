"""Run by the Python of an environment with PyRIT in it: texts as its converters write them.

On stdin {"names", "texts", "seed"}; the last line on stdout is a list of {"name", "nth", "text"}. Without names: each
converter that needs nothing but a text. Imports nothing of ours.
"""

import asyncio
import contextlib
import importlib
import json
import random
import sys
from collections.abc import AsyncIterator
from typing import Any


def kinds(wanted: list[str]) -> dict[str, Any]:
    """Classes of converters by name; what needs a package that is not there is left out unless it was asked for."""
    package, found = importlib.import_module("pyrit.converter"), {}
    for name in wanted or sorted(n for n in dir(package) if n.endswith("Converter") and n != "Converter"):
        try:
            found[name] = getattr(package, name)
        except (ImportError, AttributeError):
            if wanted:
                raise
    return found


async def converted(kind: Any, texts: list[str]) -> AsyncIterator[tuple[int, str]]:
    """Each text that the converter changes. Raises TypeError or ValueError if it needs more than a text."""
    converter = kind()
    for nth, text in enumerate(texts):
        result = await converter.convert_async(prompt=text, input_type="text")
        if result.output_type == "text" and result.output_text.strip() not in ("", text):
            yield nth, result.output_text


async def main() -> None:
    given = json.load(sys.stdin)
    random.seed(given["seed"])
    made = []
    with contextlib.redirect_stdout(sys.stderr):
        for name, kind in kinds(given["names"]).items():
            if "text" not in getattr(kind, "SUPPORTED_OUTPUT_TYPES", ()):
                continue
            try:
                made += [
                    {"name": name, "nth": nth, "text": text} async for nth, text in converted(kind, given["texts"])
                ]
            except (TypeError, ValueError):
                if given["names"]:
                    raise
    print(json.dumps(made))


if __name__ == "__main__":
    asyncio.run(main())
