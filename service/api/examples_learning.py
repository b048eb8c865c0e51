"""Examples of datasets, runs and versions for the OpenAPI document."""

from typing import Final

from service.gate.exchange import Json

_DATASET: Final = "5f1c" * 16
_DIGEST: Final = "0280" * 16
_CHECK: Final[Json] = {
    "name": "recall",
    "category": "hate",
    "candidate": 0.61,
    "serving": 0.52,
    "difference": 0.09,
    "low": 0.04,
    "high": 0.14,
    "passed": True,
}
DATASET_REQUESTS: Final[dict[str, Json]] = {
    "reviewed": {
        "name": "reviewed",
        "version": _DATASET[:12],
        "digest": _DATASET,
        "manifest": {"counts": {"train": 450, "dev": 50}},
        "exchanges": ["exc_0f3a5c7e9b1d4f6a8c0e2b4d6f8a1c3e"],
    }
}
DATASET: Final[Json] = {
    "object": "learning.dataset",
    "name": "reviewed",
    "version": _DATASET[:12],
    "digest": _DATASET,
    "at": 1795000000.0,
    "by": "key_admin",
    "manifest": {"counts": {"train": 450, "dev": 50}},
    "exchanges": 500,
    "models": ["default@0.4.0"],
}
DATASETS: Final[Json] = {"object": "list", "data": [DATASET]}
RUN_REQUESTS: Final[dict[str, Json]] = {
    "done": {
        "id": "run_7d1c",
        "verb": "guard",
        "recipe": "loop.yaml",
        "recipe_digest": _DIGEST,
        "datasets": [_DATASET],
        "revision": "21694f2",
        "state": "done",
        "metrics": {"auc": 0.93},
    }
}
RUN: Final[Json] = {"object": "learning.run", "id": "run_7d1c", "state": "done"}
MODEL_REQUESTS: Final[dict[str, Json]] = {
    "guard": {
        "kind": "guard",
        "name": "default",
        "version": "0.4.0",
        "digest": _DIGEST,
        "folder": "models/default/0.4.0",
        "run": "run_7d1c",
        "datasets": [_DATASET],
        "parent": "default@0.3.0",
        "metrics": {"auc": 0.93},
        "gates": {"passed": True, "checks": [_CHECK]},
        "card": "# default 0.4.0",
    }
}
_STEP: Final[Json] = {
    "at": 1795000000.0,
    "by": "key_admin",
    "action": "register",
    "model_id": "default@0.4.0",
    "replaced": None,
    "share": None,
    "reason": "",
    "override": False,
    "keys": [],
}
MODEL: Final[Json] = {
    "object": "learning.model",
    "id": "default@0.4.0",
    **MODEL_REQUESTS["guard"],
    "at": 1795000000.0,
    "by": "key_admin",
    "stage": "registered",
    "since": 1795000000.0,
    "share": None,
    "keys": [],
    "history": [_STEP],
}
MODELS: Final[Json] = {"object": "list", "data": [MODEL]}
STAGE_REQUESTS: Final[dict[str, Json]] = {
    "shadow": {"to": "shadow"},
    "canary": {"to": "canary", "share": 0.1, "keys": ["key_0123456789abcdef"]},
    "enforce": {"to": "enforced", "reason": "agrees with reviewers in shadow"},
}
ROLLBACK_REQUESTS: Final[dict[str, Json]] = {"back": {"reason": "refuses recipes"}}
ROLLBACK: Final[Json] = {"object": "learning.rollback", "name": "default", "model": None, "replaced": "default@0.4.0"}
_SHARE: Final[Json] = {"value": 0.98, "low": 0.96, "high": 0.99}
SHADOW: Final[Json] = {
    "object": "learning.shadow",
    "id": "default@0.4.0",
    "against": "028020c552b7",
    "since": 1794990000.0,
    "exchanges": 412,
    "categories": [
        {
            "stage": "input",
            "category": "harm",
            "judged": 412,
            "agreed": 404,
            "agreement": _SHARE,
            "only_enforced": 3,
            "only_shadow": 5,
            "human": {
                "decided": 20,
                "harmful": 9,
                "enforced": {"right": 15, "share": _SHARE},
                "shadow": {"right": 18, "share": _SHARE},
            },
        }
    ],
}
