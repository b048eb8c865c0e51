"""Generative guards: models asked in words whether a text is safe. One module a family, the wire an argument."""

from guards.generative.guard import FAMILIES, GenerativeGuard, GenerativeSpec

__all__ = ["FAMILIES", "GenerativeGuard", "GenerativeSpec"]
