"""The console's ASGI app: its pages, their errors, and nothing else."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from service.learning.errors import LearningError
from service.ledger.crypto import SealError
from service.ledger.store import Store
from service.review.console.auth import Denied, Page, admitted
from service.review.console.headers import Sealed
from service.review.console.oidc import Provider, ProviderError, remembering
from service.review.console.pages import (
    audit,
    item,
    judging,
    learning,
    login,
    policies,
    preferences,
    quality,
    queue,
    ranking,
    reveal,
    shift,
    users,
    voices,
)
from service.review.console.view import render
from service.review.reviewer import Forbidden, ReviewError
from service.settings import Settings

STATIC: Final = Path(__file__).with_name("static")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Console:
    """What the pages need. `attempts`: to log in, by address. `provider`: of identities, if there is one."""

    store: Store
    settings: Settings
    attempts: MovingWindowRateLimiter
    provider: Provider | None


def create_console(store: Store, settings: Settings) -> ASGIApp:
    """The console over an opened store (`Store.ready`)."""
    app = Starlette(
        routes=[
            *(Route(path, admitted(path, page), methods=methods) for path, methods, page in _PAGES),
            Mount("/static", StaticFiles(directory=STATIC), name="static"),
        ],
        exception_handlers={
            Denied: _denied,
            ReviewError: _refused,
            Forbidden: _denied,
            ProviderError: _unvouched,
            LearningError: _refused,
            SealError: _unreadable,
            HTTPException: _plain,
            Exception: _broken,
        },
    )
    provider = Provider(settings) if settings.oidc_issuer else None
    app.state.console = Console(store, settings, MovingWindowRateLimiter(MemoryStorage()), provider)
    return Sealed(remembering(app, store, settings) if provider else app)


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


_GET, _POST = ["GET"], ["POST"]
_PAGES: Final[tuple[tuple[str, list[str], Page], ...]] = (
    ("/health", _GET, _health),
    ("/login", _GET, login.form),
    ("/login", _POST, login.enter),
    ("/oidc", _GET, login.begin),
    ("/oidc/back", _GET, login.come_back),
    ("/logout", _POST, login.leave),
    ("/password", _GET, login.password_form),
    ("/password", _POST, login.change_password),
    ("/", _GET, shift.page),
    ("/next", _POST, shift.go_on),
    ("/break", _POST, shift.pause),
    ("/keys", _GET, shift.keys),
    ("/preferences", _GET, preferences.form),
    ("/preferences", _POST, preferences.save),
    ("/queue", _GET, queue.page),
    ("/search", _GET, queue.found),
    ("/voices", _GET, voices.page),
    ("/rankings", _GET, ranking.page),
    ("/rankings/undo", _POST, ranking.undo),
    ("/rankings/{task_id}", _POST, ranking.submit),
    ("/items/{item_id}", _GET, item.page),
    ("/items/{item_id}/reveal", _POST, reveal.reveal),
    ("/items/{item_id}/claim", _POST, judging.take),
    ("/items/{item_id}/release", _POST, judging.give_back),
    ("/items/{item_id}/decide", _POST, judging.submit_decision),
    ("/items/{item_id}/skip", _POST, judging.skip_item),
    ("/items/{item_id}/escalate", _POST, judging.escalate_item),
    ("/items/{item_id}/comment", _POST, judging.add_comment),
    ("/items/{item_id}/adjudicate", _POST, judging.settle),
    ("/undo", _POST, judging.take_back),
    ("/beat", _POST, judging.beat),
    ("/policies", _GET, policies.page),
    ("/quality", _GET, quality.page),
    ("/models", _GET, learning.page),
    ("/models/{name}/{version}", _GET, learning.version),
    ("/models/{name}/{version}/stage", _POST, learning.stage),
    ("/models/{name}/rollback", _POST, learning.back),
    ("/exports", _POST, learning.export),
    ("/audit", _GET, audit.page),
    ("/users", _GET, users.page),
    ("/users", _POST, users.create),
    ("/users/{login}", _POST, users.change),
)


def _error(request: Request, status: int, title: str, message: str) -> Response:
    if request.headers.get("hx-request"):
        return render(request, "fault.html", status, message=message)
    return render(request, "error.html", status, title=title, message=message)


async def _denied(request: Request, error: Exception) -> Response:
    return _error(request, 403, "Not for you", str(error))


async def _refused(request: Request, error: Exception) -> Response:
    return _error(request, 409, "That cannot be done", str(error))


async def _unvouched(request: Request, error: Exception) -> Response:
    log.warning("oidc_failed", error=type(error.__cause__).__name__)
    return _error(request, 403, "No login", str(error))


async def _unreadable(request: Request, _: Exception) -> Response:
    return _error(
        request,
        500,
        "A text does not open",
        "Its key is missing or damaged. Tell the operator: sluicegate ledger verify",
    )


async def _plain(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        return _error(request, 404, "There is no such page", request.url.path)
    return _error(request, status, "That does not work", "This page cannot be asked for in this way.")


async def _broken(request: Request, error: Exception) -> Response:
    log.error("console_failed", error=type(error).__name__)
    return _error(request, 500, "Something broke on our side", "Try again; if it stays so, tell the operator.")
