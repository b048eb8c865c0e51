"""Figures in the documents are those of the results.

A figure is followed by where it comes from: `1.04<!-- figure: paired.json#streams/1/per_token_p50/value -->`.
"""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results"
DOCUMENTS = [ROOT / "README.md", ROOT / "bench" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
DOCUMENTS += sorted((ROOT / "guards" / "models").rglob("*.md"))
MARK = re.compile(r"(?:(-?\d[\d,]*(?:\.\d+)?) ?(%)?)?\s?<!-- figure: ([\w./-]+\.json)#([^ ]+) -->")


def faults(text, results=RESULTS):
    """Figures that are not what their source says, to as many digits as are shown. `%` shows a share as per cent."""
    found = []
    for shown, percent, file, path in MARK.findall(text):
        try:
            value = json.loads((results / file).read_text(encoding="utf-8"))
            for key in path.split("/"):
                value = value[int(key)] if isinstance(value, list) else value[key]
            value = float(value) * (100 if percent else 1)
        except (OSError, LookupError, TypeError, ValueError) as error:
            found.append(f"{file}#{path}: {type(error).__name__}")
            continue
        digits = len(shown.partition(".")[2])
        if not shown or f"{value:.{digits}f}" != shown.replace(",", ""):
            found.append(f"{file}#{path}: shown {shown or 'nothing'}, measured {value}")
    return found


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if d.exists()], ids=lambda d: str(d.relative_to(ROOT)))
def test_figures_are_those_measured(document):
    """Every marked figure of a document equals the results file it names."""
    assert faults(document.read_text(encoding="utf-8")) == []


def test_a_wrong_figure_is_found(tmp_path):
    """A figure that differs, has no number or names what is not there is a fault; rounding and per cent are not."""
    (tmp_path / "a.json").write_text('{"x": [{"y": 1.0449}], "n": 12345, "s": 0.986}')
    right = "1.04<!-- figure: a.json#x/0/y --> 12,345 <!-- figure: a.json#n --> 98.6 %<!-- figure: a.json#s -->"
    assert faults(right, tmp_path) == []
    wrong = ["1.05<!-- figure: a.json#x/0/y -->", "one <!-- figure: a.json#n -->", "1<!-- figure: a.json#z -->"]
    wrong += ["1<!-- figure: b.json#n -->", "1<!-- figure: a.json#x/7 -->", "1<!-- figure: a.json#x -->"]
    assert [len(faults(text, tmp_path)) for text in wrong] == [1] * len(wrong)
