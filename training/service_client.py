"""Asks a running service over HTTP, with clear words when it says no."""

import asyncio
import json
import os
from collections.abc import Mapping
from typing import Any, Final

import aiohttp

from training.rows import DataError

URL: Final = "http://127.0.0.1:8080"
KEY: Final = "SLUICEGATE_ADMIN_KEY"
TIMEOUT_S: Final = 120.0


class ServiceError(DataError):
    """The service cannot be asked, or says no. `status`: its HTTP status, 0 when there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Service:
    """A service and the key to it: an operator's, or an admin's for what overrides a gate."""

    def __init__(self, url: str = URL, key: str | None = None) -> None:
        self.url, self.key = url.rstrip("/"), key or os.environ.get(KEY, "")
        if not self.key:
            raise ServiceError(f"no key: give --key, or set {KEY} (sluicegate keys create --role operator makes one)")

    def get(self, path: str, **query: str) -> Any:
        """The JSON of an answer. Raises ServiceError."""
        return self._parsed(self.text("GET", path, query=query))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON of an answer. Raises ServiceError."""
        return self._parsed(self.text("POST", path, body))

    def text(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, query: Mapping[str, str] | None = None
    ) -> str:
        """An answer as it came. Raises ServiceError."""
        return asyncio.run(self._asked(method, path, body, query))

    async def _asked(
        self, method: str, path: str, body: Mapping[str, Any] | None, query: Mapping[str, str] | None
    ) -> str:
        headers = {"authorization": f"Bearer {self.key}"}
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
                session.request(method, self.url + path, json=body, params=query) as response,
            ):
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            why = str(error) or type(error).__name__
            raise ServiceError(f"{self.url} does not answer ({why}). Is it running, and is --url right?") from error
        if response.status >= 400:
            raise ServiceError(f"{method} {path}: {response.status}: {_said(text)}", response.status)
        return text

    def _parsed(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise ServiceError(f"{self.url} answers with what is no JSON; is it a Sluicegate service?") from error


def _said(text: str) -> str:
    """The message of an error in the API's shape, else the beginning of the answer."""
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return text[:300]
