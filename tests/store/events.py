"""Events as the gate writes them."""

import time
import uuid
from typing import Any

CODE = "code-0451-of-the-vault"  # long: four characters stand in random base64 by chance
SECRET = f"the quick brown {CODE}"
ANSWER = f"a withheld answer about {CODE}, with more behind it"


def new_id() -> str:
    return "exc_" + uuid.uuid4().hex


def asked(exchange_id: str, store: str = "flagged", sampled: bool = False, text: str = SECRET) -> dict[str, Any]:
    return {
        "event": "asked",
        "id": f"{exchange_id}:asked",
        "exchange_id": exchange_id,
        "at": time.time(),
        "endpoint": "chat",
        "model": "small",
        "stream": True,
        "choices": 1,
        "key_id": "key_1",
        "tenant": "acme",
        "subject": "end-user-77@example.com",
        "policy": "default",
        "policy_version": 3,
        "policy_digest": "cafe",
        "store": store,
        "sampled": sampled,
        "texts": {"passages": [{"kind": "system", "text": "be kind"}, {"kind": "prompt", "text": text}]},
    }


def verdict(exchange_id: str, number: int = 1, judged: str = SECRET, stage: str = "input") -> dict[str, Any]:
    one = {
        "guard": "default",
        "version": "1.0",
        "digest": "beef",
        "stage": stage,
        "category": "harm",
        "score": 0.93,
        "threshold": 0.5,
        "action": "refuse",
        "mode": "enforce",
        "policy": "default",
        "policy_digest": "cafe",
        "error": None,
        "spans": [[0, 5, "harm"]],
    }
    failed = one | {"guard": "other", "score": None, "error": "timeout", "spans": []}
    return {
        "event": "verdict",
        "id": f"{exchange_id}:verdict:{number}",
        "exchange_id": exchange_id,
        "at": time.time(),
        "stage": stage,
        "choice": 0,
        "channel": "content",
        "blocked": True,
        "released_chars": 4,
        "verdicts": [one, failed],
        "texts": {"judged": judged},
    }


def closed(exchange_id: str, flagged: bool = False, outcome: str = "completed") -> dict[str, Any]:
    return {
        "event": "closed",
        "id": f"{exchange_id}:closed",
        "exchange_id": exchange_id,
        "at": time.time(),
        "outcome": outcome,
        "flagged": flagged,
        "duration_s": 1.5,
        "first_content_s": 0.2,
        "usage": {"prompt_tokens": 3},
        "scores": {"default": {"version": "1", "digest": "d", "input": {"harm": 0.25}, "output": {}}},
        "deliveries": [
            {
                "index": 0,
                "channel": "content",
                "generated_chars": len(ANSWER),
                "released_chars": 4,
                "withheld_chars": len(ANSWER) - 4,
                "finish_reason": "content_filter",
            }
        ],
        "texts": {"generated": {"0/content": ANSWER}},
    }


def flagged(exchange_id: str, **options: Any) -> list[dict[str, Any]]:
    return [asked(exchange_id, **options), verdict(exchange_id), closed(exchange_id, flagged=True)]


def clean(exchange_id: str, **options: Any) -> list[dict[str, Any]]:
    return [asked(exchange_id, **options), closed(exchange_id)]
