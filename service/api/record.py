"""The ledger's database, asked by clients and reviewers: what may go wrong with it as errors they can read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.api.body import BadRequest
from service.api.deps import Api
from service.api.errors import Denied
from service.gate.exchange import LedgerUnavailable
from service.learning.errors import LearningError
from service.learning.errors import Unknown as NotLearned
from service.ledger.store import Store, unreachable
from service.review.reviewer import Forbidden, ReviewError, Unknown


@asynccontextmanager
async def record(api: Api) -> AsyncIterator[Store]:
    """The store.

    Raises:
        BadRequest: 404 there is no such thing, 409 it cannot be done as things are.
        Denied: it is for others.
        LedgerUnavailable: the database is away.
    """
    if api.store is None:
        raise LedgerUnavailable("This service keeps no record. Ask its operator.")
    try:
        yield api.store
    except (Unknown, NotLearned) as error:
        raise BadRequest(_sentence(error), status=404, code="not_found") from None
    except Forbidden as error:
        raise Denied(_sentence(error), 403) from None
    except (ReviewError, LearningError) as error:
        raise BadRequest(_sentence(error), status=409, code="conflict") from None
    except Exception as error:
        if unreachable(error):
            raise LedgerUnavailable("The record cannot be reached. Retry shortly.") from error
        raise


def _sentence(error: ReviewError | LearningError) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
