"""Versions of data to learn from: items without text, by digest; texts are read from the feeds when they are needed.

What was erased at a feed is simply gone then, and counted. See docs/datasets.md.
"""

from training.dataset.texts import materialise
from training.dataset.version import exchanges, load, registry

__all__ = ["exchanges", "load", "materialise", "registry"]
