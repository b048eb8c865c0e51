"""Traces in OpenTelemetry's form: names, counts and times, never a text. Imported only where tracing is on.

What a caller sends of a trace is its `traceparent`, two ids and a flag. `tracestate` and baggage are free text: they
are neither taken over nor passed on.
"""

import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Facts = Mapping[str, str | int | bool]
NONE: Final[Facts] = {}
PARENT: Final = "traceparent"
_W3C: Final = TraceContextTextMapPropagator()


@dataclass(slots=True)
class Held:
    """Since when, in nanoseconds of the epoch, text of this request waits for its judges; 0: nothing waits."""

    since_ns: int = 0


held: ContextVar[Held | None] = ContextVar("held", default=None)


class Tracing:
    """Makes the spans of a process. `processor` takes them; without one they go to an OTLP collector.

    The collector, sampling and the service's name are OpenTelemetry's own settings (OTEL_*).
    """

    def __init__(self, processor: SpanProcessor | None = None) -> None:
        self._provider = TracerProvider(resource=Resource.create({"service.name": "sluicegate"}))
        self._provider.add_span_processor(processor or _collector())
        self._tracer = self._provider.get_tracer("sluicegate")

    def stop(self) -> None:
        """Sends what is left. Blocks for seconds when the collector is away."""
        self._provider.shutdown()

    def begin(
        self,
        name: str,
        facts: Facts = NONE,
        *,
        parent: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        start_ns: int | None = None,
    ) -> Span:
        """A span below `parent`, or below the current one. Whoever begins it ends it (`finish`)."""
        return self._tracer.start_span(name, parent, kind, _prefixed(facts), start_time=start_ns)

    def finish(self, span: Span, error: BaseException | None = None, facts: Facts = NONE) -> None:
        """An error is told by its type alone: its message may quote what somebody wrote."""
        span.set_attributes(_prefixed(facts))
        if error is not None:
            span.set_attribute("error.type", getattr(error, "code", type(error).__name__))
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def carried(self) -> Mapping[str, str]:
        """The header that makes an engine's own spans part of this trace."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return {PARENT: carrier[PARENT]} if PARENT in carrier else {}


def _prefixed(facts: Facts) -> Facts:
    return {f"sluicegate.{fact}": value for fact, value in facts.items()}


def _collector() -> SpanProcessor:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return BatchSpanProcessor(OTLPSpanExporter())


def below(span: Span) -> Context:
    return trace.set_span_in_context(span)


def enter(span: Span) -> None:
    """Makes `span` the current one of a context that nobody shares and that ends with its task."""
    context.attach(below(span))


class Traced:
    """One root span a request, part of the caller's trace where it has one. Pure ASGI, outside of everything."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app, self._tracing = app, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/health/"):
            await self._app(scope, receive, send)
            return
        sent = dict(scope["headers"]).get(PARENT.encode())
        parent = _W3C.extract({PARENT: sent.decode("latin-1")}, Context()) if sent else Context()
        span = self._tracing.begin("request", parent=parent, kind=SpanKind.SERVER)
        entered, holding = context.attach(below(span)), held.set(Held())

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                span.set_attribute("http.response.status_code", message["status"])
            await send(message)

        error: BaseException | None = None
        try:
            await self._app(scope, receive, sending)
        except BaseException as raised:
            error = raised
            raise
        finally:
            held.reset(holding)
            context.detach(entered)
            _name(span, scope)
            self._tracing.finish(span, error, _outcome(scope.get("state", {})))


def _name(span: Span, scope: Scope) -> None:
    """The route's pattern and never the path, in which a client may write what it likes."""
    route = getattr(scope.get("route"), "path", "unknown")
    span.update_name(f"request {route}")
    span.set_attribute("http.route", route)


def _outcome(state: Mapping[str, Any]) -> Facts:
    return {name: str(state[name]) for name in ("exchange_id", "outcome") if name in state}


def now_ns() -> int:
    return time.time_ns()
