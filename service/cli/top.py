"""`sluicegate top`: what a running gateway does now."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from service.operating.figures import Reading


def register(app: typer.Typer) -> None:
    app.command()(top)


def top(
    url: Annotated[str, typer.Option(help="the gateway, or its metrics port")] = "http://127.0.0.1:8080",
    key: Annotated[str, typer.Option(envvar="SLUICEGATE_ADMIN_KEY", help="a key of role operator or admin")] = "",
    every_s: Annotated[float, typer.Option("--every", min=0.2, help="seconds between readings")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="one table of one interval, then end")] = False,
) -> None:
    """Watch exchanges, guards, engine, spool and review of a running gateway, read from its metrics.

    Example: SLUICEGATE_ADMIN_KEY=sg-admin-... sluicegate top
    """
    import time

    from rich.console import Console
    from rich.live import Live

    then = _reading(url, key)
    time.sleep(every_s)
    now = _reading(url, key)
    if once:
        Console().print(_table(url, then, now))
        return
    try:
        with Live(_table(url, then, now), auto_refresh=False, screen=True) as live:
            while True:
                time.sleep(every_s)
                then, now = now, _reading(url, key)
                live.update(_table(url, then, now), refresh=True)
    except KeyboardInterrupt:
        return


def _reading(url: str, key: str) -> "Reading":
    import urllib.error

    from service.cli.opened import refuse
    from service.operating.figures import exposition, read

    try:
        return read(exposition(url, key))
    except urllib.error.HTTPError as error:
        refuse(f"{url} answers {error.code}; --key takes a key of role operator or admin")
    except (OSError, ValueError) as error:
        refuse(f"{url}: {getattr(error, 'reason', error)}; is the gateway up?")


def _table(url: str, then: "Reading", now: "Reading") -> "Table":
    from rich import box
    from rich.table import Table

    from service.operating.figures import quantile, rates

    def seconds(histogram: str) -> str:
        p50, p95 = (quantile(then, now, f"sluicegate_{histogram}", q) for q in (0.5, 0.95))
        return "-" if p50 != p50 else f"{p50 * 1000:.0f} / {p95 * 1000:.0f} ms"  # NaN: nothing happened

    def each(name: str, label: str) -> str:
        found = {k: v for k, v in rates(then, now, f"sluicegate_{name}_total", label).items() if v}
        return ", ".join(f"{k} {v:.1f}/s" for k, v in sorted(found.items(), key=lambda kv: -kv[1])) or "-"

    def per_s(name: str) -> str:
        return f"{sum(rates(then, now, f'sluicegate_{name}_total', '').values()):.1f}/s"

    def is_(name: str) -> float:
        return now.total(f"sluicegate_{name}")

    table = Table(title=f"{url}, over the last {now.at - then.at:.1f} s", box=box.SIMPLE, show_header=False)
    state = [name for name in ("engine", "database") if is_(f"{name}_up") < 1]
    rows = (
        ("state", f"[red]down: {', '.join(state)}[/]" if state else "[green]engine and database are up[/]"),
        ("in flight", f"{is_('in_flight'):.0f}"),
        ("exchanges", each("exchanges", "outcome")),
        ("first content, 50 / 95 %", seconds("first_content_seconds")),
        ("held by judging, 50 / 95 %", seconds("segment_hold_seconds")),
        ("released, withheld chars", f"{per_s('released_chars')}, {per_s('withheld_chars')}"),
        ("guards, waiting", f"{is_('guard_queue_depth'):.0f} passages; batch {seconds('guard_seconds')}"),
        ("guard errors", each("guard_errors", "kind")),
        ("policy", each("guard_outcomes", "outcome")),
        ("spool", f"{is_('spool_backlog'):.0f} events, oldest {is_('spool_oldest_seconds'):.0f} s"),
        ("review", f"{is_('review_open'):.0f} open, {is_('review_overdue'):.0f} overdue"),
        ("turned away", f"{per_s('overloaded')} for load, {per_s('rate_limited')} for rate"),
    )
    for name, said in rows:
        table.add_row(name, said)
    return table
