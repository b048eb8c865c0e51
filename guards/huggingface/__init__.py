"""Any sequence or token classifier in Hugging Face's form, from a folder or a hub: one spec, no code of a model."""

from guards.huggingface.folder import resolve
from guards.huggingface.guard import HuggingFaceGuard
from guards.huggingface.spec import HuggingFaceSpec

__all__ = ["HuggingFaceGuard", "HuggingFaceSpec", "resolve"]
