"""Tables for a terminal, and HTML pages that need nothing else. Pure."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1c1c1c }
table { border-collapse: collapse; margin: .8rem 0 1.6rem } th, td { padding: .25rem .8rem .25rem 0; text-align: left }
th { border-bottom: 2px solid #888; font-weight: 600 } td { border-bottom: 1px solid #ddd }
td { font-variant-numeric: tabular-nums } img { max-width: 100% } .note { color: #555 } code { font-size: .9em }
"""
Cells = Sequence[str]


def columns(rows: Sequence[Cells]) -> str:
    """Rows of one width each, for a terminal; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def page(title: str, blocks: Iterable[str]) -> str:
    """A whole HTML document; it loads nothing."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    body = f"<h1>{escape(title)}</h1>{''.join(blocks)}"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>'


def table(rows: Sequence[Cells]) -> str:
    """An HTML table; the first row is the head."""
    head, *body = rows
    cells = "".join(f"<th>{escape(c)}</th>" for c in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in body)
    return f"<table><tr>{cells}</tr>{lines}</table>"


def note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def heading(text: str, level: int = 2) -> str:
    return f"<h{level}>{escape(text)}</h{level}>"


def image(svg: str, alt: str) -> str:
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{escape(alt)}" src="data:image/svg+xml;base64,{data}">'


def interval(found: Mapping[str, Any] | None, sign: str = "") -> str:
    if not found:
        return "-"
    return f"{found['value']:{sign}.3f} ({found['low']:{sign}.3f} to {found['high']:{sign}.3f})"
