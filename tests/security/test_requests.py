"""Requests that would hold on to the service."""

import pytest
from starlette.requests import Request

from service.api.body import BadRequest, read


def requests(*messages):
    """A request whose body comes as these messages, then never ends."""
    waiting = list(messages)

    async def receive():
        import asyncio

        if waiting:
            return waiting.pop(0)
        return await asyncio.Event().wait()

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"application/json")]}
    return Request(scope, receive)


async def test_a_body_that_comes_by_drops_is_given_up():
    """A body that is not whole in time is a 408 that says so; nothing was asked of anybody."""
    drop = {"type": "http.request", "body": b'{"model":', "more_body": True}
    with pytest.raises(BadRequest, match="within 0 seconds") as failure:
        await read(requests(drop), 1000, within_s=0.05)
    assert (failure.value.status, failure.value.code) == (408, "body_too_slow")


async def test_a_whole_body_is_read():
    """The same request with the rest of its body is read."""
    parts = [{"type": "http.request", "body": b'{"a":', "more_body": True}]
    parts.append({"type": "http.request", "body": b"1}", "more_body": False})
    assert await read(requests(*parts), 1000) == {"a": 1}
