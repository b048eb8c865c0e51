"""A request's body as a model of what is allowed."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from service.api.body import read
from service.api.deps import Api
from service.api.errors import fault

Body = TypeVar("Body", bound=BaseModel)


async def body_of(api: Api, request: Request, model: type[Body]) -> Body:
    """Raises BadRequest, which names the first field that is wrong."""
    payload = await read(request, api.settings.max_body_bytes)
    try:
        return model.model_validate(payload)
    except ValidationError as error:
        raise fault(error.errors(include_url=False, include_input=False), payload) from None
