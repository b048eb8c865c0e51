"""`sluicegate`: everything an operator types. One file a noun; modules are imported when their verb runs."""

from service.cli.main import main

__all__ = ["main"]
