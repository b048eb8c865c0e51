"""JSON logs on stderr, one line an event, with the exchange's id and never a text that a user or a model wrote."""

import logging
import sys
import traceback
from collections.abc import Mapping
from typing import Any, Final, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

DROPPED: Final = "[dropped]"
TEXT_KEYS: Final = frozenset(
    {"arguments", "authorization", "body", "completion", "content", "cookie", "input", "messages", "output"}
    | {"passage", "passages", "password", "prompt", "reasoning", "refusal", "secret", "text", "texts", "token", "tools"}
)


def drop_text(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replaces values whose key says that they may carry text or a credential, at any depth."""
    return {key: _cleared(key, value) for key, value in event.items()}


def _cleared(key: str, value: Any) -> Any:
    if key.lower() in TEXT_KEYS:
        return DROPPED
    if isinstance(value, Mapping):
        return {k: _cleared(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_cleared("", v) for v in value]
    return value


def bare_traceback(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Turns an exception into its type and frames: the message is left out, it may quote what a user sent."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info if isinstance(info, BaseException) else info[1] if isinstance(info, tuple) else None
    if error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        event["exception"] = type(error).__qualname__
        event["frames"] = [f"{f.filename.rpartition('site-packages/')[2]}:{f.lineno} {f.name}" for f in frames[-12:]]
    return event


def _json(event: EventDict, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def configure(level: str = "info", stream: TextIO = sys.stderr) -> None:
    """Sends structlog and the standard library's loggers (uvicorn's too) through the same processors to `stream`."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        bare_traceback,
        drop_text,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    renderer = structlog.processors.JSONRenderer(serializer=_json)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("alembic").setLevel(logging.WARNING)  # says at every start that nothing was to do
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"  # the request line is ours, with route and exchange
