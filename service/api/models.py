"""GET /v1/models: what the engine serves, in OpenAI's shape."""

from service.api.body import BadRequest
from service.gate.exchange import Engine, Json


async def every(engine: Engine) -> Json:
    """Raises EngineUnavailable."""
    return {"object": "list", "data": [_plain(model) for model in await engine.models()]}


async def one(engine: Engine, name: str) -> Json:
    """Raises BadRequest (404), EngineUnavailable."""
    found = next((model for model in await engine.models() if model["id"] == name), None)
    if found is None:
        raise BadRequest("There is no such model. GET /v1/models lists them.", "model", 404, "model_not_found")
    return _plain(found)


def _plain(model: Json) -> Json:
    """Without where the engine keeps it and what it permits."""
    plain = {
        "id": model["id"],
        "object": "model",
        "created": int(model.get("created") or 0),
        "owned_by": str(model.get("owned_by") or "engine"),
    }
    return plain | {"max_model_len": model["max_model_len"]} if model.get("max_model_len") else plain
