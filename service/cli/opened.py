"""What the verbs of keys, ledger and review share: the installation's database, opened; its errors, told plainly."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from service.ledger.store import Store
    from service.settings import Settings

T = TypeVar("T")


@asynccontextmanager
async def opened() -> "AsyncIterator[tuple[Store, Settings]]":
    """The database of this installation, migrated where it is SQLite."""
    from service.ledger.ledger import open_store
    from service.settings import Settings

    settings = Settings()
    store = open_store(settings)
    try:
        await store.ready()
        yield store, settings
    finally:
        await store.close()


def told(work: Coroutine[Any, Any, T]) -> T:
    """Runs a verb. What may go wrong becomes one line that says what to do, and exit code 1."""
    from pydantic import ValidationError
    from sqlalchemy.exc import SQLAlchemyError

    from service.gate.exchange import LedgerUnavailable
    from service.ledger.crypto import SealError
    from service.ledger.store import StoreError
    from service.review.reviewer import ReviewError

    try:
        return asyncio.run(work)
    except ValidationError as error:
        fault = error.errors()[0]
        refuse(f"SLUICEGATE_{'_'.join(map(str, fault['loc'])).upper()}: {fault['msg']}")
    except (SealError, StoreError, ReviewError, LedgerUnavailable, ValueError) as error:
        refuse(str(error))
    except BrokenPipeError:
        raise  # whoever read what it says has gone: no fault of the database
    except (SQLAlchemyError, OSError) as error:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        refuse(f"the database cannot be used ({cause}); check SLUICEGATE_DATABASE_URL and SLUICEGATE_HOME")


def refuse(message: str) -> NoReturn:
    """Ends the verb with one line on stderr and exit code 1."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)
