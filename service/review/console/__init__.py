"""The review console: its own ASGI app, on its own port, never on the public API's origin."""

from service.review.console.app import create_console

__all__ = ["create_console"]
