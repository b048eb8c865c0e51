"""Examples for the OpenAPI document."""

from typing import Final

from guards.taxonomy import OPENAI
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
RESPONSES_REQUESTS: Final[dict[str, Json]] = {
    "short": {"model": _MODEL, "input": "What is the capital of France?"},
    "streamed": {
        "model": _MODEL,
        "instructions": "Be brief.",
        "input": [_ASK],
        "max_output_tokens": 64,
        "stream": True,
    },
    "tools": {
        "model": _MODEL,
        "input": [
            _ASK,
            {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Paris"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "18 degrees"},
        ],
        "tools": [{"type": "function", "name": "weather", "parameters": _CITY}],
    },
    "structured": {
        "model": _MODEL,
        "input": "Which city?",
        "text": {"format": {"type": "json_schema", "name": "answer", "schema": _CITY}},
    },
}
RESPONSE: Final[Json] = {
    "id": "resp_0f3a",
    "object": "response",
    "created_at": 1795000000,
    "status": "completed",
    "model": _MODEL,
    "error": None,
    "incomplete_details": None,
    "output": [
        {
            "id": "msg_0f3a_0",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [
                {
                    "type": "output_text",
                    "text": "The capital of France is Paris.",
                    "annotations": [],
                    "logprobs": [],
                }
            ],
        }
    ],
    "usage": {
        "input_tokens": 31,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 8,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 39,
    },
}
EMBEDDINGS_REQUESTS: Final[dict[str, Json]] = {
    "one": {"model": "an-embedding-model", "input": "The capital of France is Paris."},
    "several": {"model": "an-embedding-model", "input": ["One, two,", "Red, green,"], "encoding_format": "float"},
}
EMBEDDINGS: Final[Json] = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.12, -0.03, 0.07]}],
    "model": "an-embedding-model",
    "usage": {"prompt_tokens": 8, "total_tokens": 8},
}
MODERATION_REQUESTS: Final[dict[str, Json]] = {
    "text": {"input": "What is the capital of France?"},
    "texts": {"input": ["One, two,", "Red, green,"]},
    "parts": {"input": [{"type": "text", "text": "Look at this:"}, {"type": "text", "text": "a poem"}]},
    "conversation": {"input": [_ASK, {"role": "assistant", "content": "The capital of France is Paris."}]},
}
_FALSE: Final = dict.fromkeys(OPENAI, False)
MODERATIONS: Final[Json] = {
    "id": "modr-0f3a",
    "model": "default@1",
    "results": [
        {
            "flagged": True,
            "categories": _FALSE | {"illicit": True},
            "category_scores": dict.fromkeys(OPENAI, 0.01) | {"illicit": 0.97},
            "category_applied_input_types": {name: ["text"] for name in OPENAI},
            "sluicegate": {
                "action": "refuse",
                "categories": {"harm": True, "toxicity": False},
                "category_scores": {"harm": 0.97, "toxicity": 0.02},
                "unjudged": ["sexual"],
            },
        }
    ],
}
EXPLAIN_REQUESTS: Final[dict[str, Json]] = {
    "prompt": {"prompt": "What is the capital of France?"},
    "answer": {"messages": [_ASK], "response": "The capital of France is Paris."},
}
EXPLANATION: Final[Json] = {
    "policy": {"name": "default", "version": 1, "digest": "9f86d081884c7d65"},
    "input": {"action": "refuse", "guard_failed": False, "categories": ["harm"]},
    "output": None,
    "parts": [
        {
            "part": "messages[0].content",
            "of": ["messages[0].content"],
            "kind": "prompt",
            "stage": "input",
            "chars": 41,
            "action": "refuse",
            "guard_failed": False,
            "findings": [
                {
                    "guard": "default",
                    "version": "0.2.0",
                    "digest": "60303ae22b998861",
                    "category": "harm",
                    "score": 0.97,
                    "threshold": 0.5,
                    "action": "refuse",
                    "mode": "enforce",
                    "spans": [],
                    "error": None,
                }
            ],
        }
    ],
}
GUARDS: Final[Json] = {
    "object": "list",
    "data": [
        {
            "object": "guard",
            "name": "patterns",
            "version": "1",
            "digest": "60303ae22b998861",
            "categories": {"input": ["card", "secret"], "output": ["card", "secret"]},
            "languages": None,
            "most_chars": None,
        }
    ],
}
MODEL: Final[Json] = {"id": _MODEL, "object": "model", "created": 1795000000, "owned_by": "vllm"}
MODELS: Final[Json] = {"object": "list", "data": [MODEL]}
COVERAGE: Final[Json] = {
    "policy": {
        "name": "default",
        "version": 1,
        "digest": "9f86d081884c7d65",
        "overlays": {"tenant": "acme", "key": None, "schedule": None},
        "file": {"digest": "2c26b46b68ffc68f", "loaded_at": "2026-11-20T08:00:00+00:00", "rejected": None},
    },
    "guards": [
        {
            "name": "patterns",
            "version": "1",
            "digest": "60303ae22b998861",
            "stage": "configured",
            "categories": ["card", "secret"],
            "languages": None,
        }
    ],
    "beside": [],
    "languages": {"covered": ["en"], "uncovered": "flag", "escalate": None, "least_recall": 0.5},
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
