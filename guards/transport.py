"""How a guard reaches a model that runs elsewhere. The wire itself is an argument: guards speak no HTTP."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, runtime_checkable
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from guards.guard import GuardError

Json = dict[str, Any]

CALLS_AT_ONCE: Final = 4  # batches of a remote guard under way together: the next need not wait for the slowest
LEAST_CHARS: Final = 1_000  # a part of a long text: well above the overlap of parts
SURROGATES: Final = dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)  # half a pair has no UTF-8 and would stop the wire


class Unreachable(GuardError):
    """The far end failed, whatever the passages are: asking again one by one would only take longer."""


class Endpoint(BaseModel):
    """Where a remote model is, and how long it may take: the fields that every remote guard of a guards file has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(description="base address, such as `http://judge:8000/v1`")
    key_env: str | None = Field(
        None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="environment variable that holds the bearer key"
    )
    timeout_s: float = Field(4.0, gt=0, le=60, description="for one batch, its requests and their retries together")
    at_once: int = Field(16, ge=1, le=256, description="requests of one batch that are open at the same time")

    languages: dict[str, dict[str, float]] | None = Field(
        None, description="recall by ISO 639 code and category, as you measured it; without it English only"
    )

    @field_validator("url")
    @classmethod
    def _plain_url(cls, url: str) -> str:
        parts = urlsplit(url)
        extra = "@" in parts.netloc or parts.query or parts.fragment
        if parts.scheme not in ("http", "https") or not parts.hostname or extra:
            raise ValueError("should be http://HOST... or https://HOST..., with no user, password, query or fragment")
        return url.rstrip("/")


class Transport(Protocol):
    """The wire to one endpoint. Blocks; several bodies are under way at once."""

    def post(self, path: str, bodies: Sequence[Json]) -> list[Json]:
        """The JSON objects that `path`, below the endpoint's url, answers, in the order of `bodies`.

        Raises:
            Unreachable: no connection, a timeout, a wrong key, an overloaded or broken far end.
            GuardError: a body was refused, or what came back is too large or no JSON object.
                Neither message holds a text, a header or a key.
        """
        ...


@runtime_checkable
class Concurrent(Protocol):
    """A guard whose `judge` may be called again while it waits. Of any other there is one call at a time."""

    @property
    def calls_at_once(self) -> int: ...


Connect = Callable[[Endpoint], Transport]


def sendable(text: str) -> str:
    """`text`, as long as before, in characters that have a UTF-8 form."""
    return text.translate(SURROGATES)
