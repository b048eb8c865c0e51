"""HTTP only: who asks, what is asked, and how the answer is written."""

from service.api.routes import create_api

__all__ = ["create_api"]
