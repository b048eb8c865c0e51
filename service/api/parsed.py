"""A request's body as a model of what is allowed; the same of its query."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from service.api.body import BadRequest, read
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


def query(request: Request, *known: str) -> dict[str, str]:
    """The query's parameters. Raises BadRequest for one that is not known, or given twice."""
    given = request.query_params.multi_items()
    for name, _ in given:
        if name not in known:
            raise BadRequest(f"There is no query parameter of that name; there are: {', '.join(known)}.", "query")
    if len(dict(given)) < len(given):
        raise BadRequest("A query parameter is given twice.", "query")
    return dict(given)
