"""Who did and who read what, newest first."""

import json

import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import Response

from service.ledger import audit
from service.ledger.models import AuditRow
from service.review.console.auth import visitor
from service.review.console.view import render

LINES = 100


async def page(request: Request) -> Response:
    """A page of the log. That it was read is in it too."""
    store, asked = request.app.state.console.store, request.query_params
    chosen = {name: asked.get(name, "").strip()[:100] for name in ("actor", "action", "object")}
    query = sa.select(AuditRow).order_by(AuditRow.seq.desc()).limit(LINES + 1)
    for name, value in chosen.items():
        query = query.where(getattr(AuditRow, name) == value) if value else query
    if (before := asked.get("before", "")).isdigit():
        query = query.where(AuditRow.seq < int(before))
    async with store.read() as session:
        rows = (await session.scalars(query)).all()
    await audit.record(store, visitor(request).user.login, "read_audit", "audit_log", lines=len(rows[:LINES]))
    lines = [(row, json.dumps(row.detail, ensure_ascii=False) if row.detail else "") for row in rows[:LINES]]
    more = rows[LINES - 1].seq if len(rows) > LINES else None
    return render(request, "audit.html", title="Audit", lines=lines, chosen=chosen, more=more)
