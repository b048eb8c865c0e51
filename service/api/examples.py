"""Examples for the OpenAPI document."""

from typing import Final

from service.gate.exchange import Json

_MODEL: Final = "smollm2-135m-instruct"
_USAGE: Final[Json] = {"prompt_tokens": 31, "completion_tokens": 8, "total_tokens": 39}
_ASK: Final[Json] = {"role": "user", "content": "What is the capital of France?"}
_CITY: Final[Json] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

CHAT_REQUESTS: Final[dict[str, Json]] = {
    "short": {"model": _MODEL, "messages": [_ASK]},
    "streamed": {
        "model": _MODEL,
        "messages": [{"role": "system", "content": "Be brief."}, _ASK],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 64,
    },
    "tools": {
        "model": _MODEL,
        "messages": [_ASK],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": _CITY}}],
        "tool_choice": "auto",
    },
    "structured": {
        "model": _MODEL,
        "messages": [_ASK],
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": _CITY}},
    },
}
CHAT: Final[Json] = {
    "id": "chatcmpl-0f3a",
    "object": "chat.completion",
    "created": 1795000000,
    "model": _MODEL,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "The capital of France is Paris.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": _USAGE,
}
COMPLETION_REQUESTS: Final[dict[str, Json]] = {
    "short": {"model": _MODEL, "prompt": "The capital of France is", "max_tokens": 8},
    "several": {"model": _MODEL, "prompt": ["One, two,", "Red, green,"], "max_tokens": 8, "logprobs": 1},
}
COMPLETION: Final[Json] = {
    "id": "cmpl-0f3a",
    "object": "text_completion",
    "created": 1795000000,
    "model": _MODEL,
    "choices": [{"index": 0, "text": " Paris.", "logprobs": None, "finish_reason": "stop"}],
    "usage": _USAGE,
}
MODEL: Final[Json] = {"id": _MODEL, "object": "model", "created": 1795000000, "owned_by": "vllm"}
MODELS: Final[Json] = {"object": "list", "data": [MODEL]}
COVERAGE: Final[Json] = {
    "policy": {"name": "default", "version": 1, "digest": "9f86d081884c7d65"},
    "guards": [{"name": "patterns", "version": "1", "digest": "60303ae22b998861", "categories": ["card", "secret"]}],
    "streaming": "hold",
    "cells": [
        {
            "endpoint": "chat",
            "direction": "output",
            "channel": "content",
            "modality": "text",
            "covered": True,
            "categories": {
                "card": {"action": "redact", "mode": "enforce", "on_error": "refuse", "guards": ["patterns"]}
            },
        },
        {"endpoint": "chat", "direction": "input", "modality": "image", "uncovered": "refuse"},
    ],
}
