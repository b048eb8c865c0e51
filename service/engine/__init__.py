"""The generation server (vLLM): its environment, its model, its process, its client."""


class EngineError(Exception):
    """The engine cannot be installed, given a model, or started. The message says what to do next."""
