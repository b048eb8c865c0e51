"""What a page of the review queue costs when the queue is long, on a real PostgreSQL.

    python -m bench.review            # 10,000 items beside 1,000,000; --quick: 1,000 beside 20,000

Two databases are filled by COPY with rows of made-up exchanges. Every question is put to both in turns that alternate
(AB, BA); what counts is the ratio of the same round. The plans of the longer one are printed.
"""

import argparse
import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import asyncpg
import sqlalchemy as sa
from sqlalchemy import event

from bench.postgres import postgres
from bench.report import write
from bench.stats import median_ratio
from service.ledger.crypto import vault
from service.ledger.desk import ReviewItem
from service.ledger.models import Exchange
from service.ledger.store import Store
from service.review.claims import next_item, release_claim
from service.review.entries import counts, list_items, search
from service.review.reviewer import Reviewer

Question = Callable[[Store], Awaitable[Any]]
ADA: Final = Reviewer("ada", opt_out=frozenset({"sexual"}))
CATEGORIES: Final = ("harm", "hate", "toxicity", "sexual", "injection")
AT: Final = 1.7e9


def exchanges(count: int) -> Iterator[tuple[Any, ...]]:
    for n in range(count):
        yield tuple(_exchange(n).get(c.name) for c in Exchange.__table__.columns)


def _exchange(n: int) -> dict[str, Any]:
    words = dict.fromkeys(("endpoint", "model", "key_id", "policy", "policy_digest", "store", "outcome"), "x")
    flags = {"stream": True, "sampled": False, "flagged": True, "legal_hold": False, "retention_class": "flagged"}
    rest = {"choices": 1, "policy_version": 1, "tenant": f"tenant{n % 7}", "asked_at": AT + n, "closed_at": AT + n}
    return words | flags | rest | {"id": f"exc_{n:032x}"}


def items(count: int) -> Iterator[tuple[Any, ...]]:
    """Nine in ten in the default queue; one in five decided; categories and priorities mixed."""
    for n in range(count):
        category = CATEGORIES[n % len(CATEGORIES)]
        row = {
            "id": "item_" + uuid.uuid5(uuid.NAMESPACE_OID, str(n)).hex,
            "exchange_id": f"exc_{n:032x}",
            "queue": "urgent" if n % 10 == 9 else "default",
            "why": "flagged",
            "inclusion_probability": 1.0,
            "priority": n % 4,
            "created_at": AT + n,
            "due_at": AT + n + 86_400,
            "state": "decided" if n % 5 == 4 else "open",
            "reviews_wanted": 1,
            "reviews_done": 0,
            "category": category,
            "categories": f",{category},",
        }
        yield tuple(row.get(c.name) for c in ReviewItem.__table__.columns)


async def filled(base: str, count: int, home: Path) -> Store:
    """A database of `count` items."""
    name = f"items_{count}"
    admin = await asyncpg.connect(f"{base}/postgres")
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    store = Store(f"{base.replace('postgresql:', 'postgresql+asyncpg:')}/{name}", vault(home))
    await store.migrate()
    connection = await asyncpg.connect(f"{base}/{name}")
    for table, records in ((Exchange, exchanges(count)), (ReviewItem, items(count))):
        columns = [c.name for c in table.__table__.columns]
        await connection.copy_records_to_table(table.__tablename__, records=records, columns=columns)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    return store


async def questions(store: Store) -> dict[str, Question]:
    """What the console asks; the cursor of the deep page is from the middle of this very queue."""
    of_it = sa.select(ReviewItem).where(ReviewItem.state == "open", ReviewItem.queue == "default")
    async with store.read() as session:
        count = await session.scalar(sa.select(sa.func.count()).select_from(of_it.subquery())) or 0
        ordered = of_it.order_by(ReviewItem.priority, ReviewItem.due_at, ReviewItem.id)
        middle = (await session.scalars(ordered.offset(count // 2).limit(1))).one()
    deep = f"{middle.priority}/{middle.due_at!r}/{middle.id}"

    async def take(store: Store) -> None:
        held = await next_item(store, ADA, gold_share=0)
        assert held is not None
        await release_claim(store, held.token)

    return {
        "first_page": lambda s: list_items(s, ADA),
        "deep_page": lambda s: list_items(s, ADA, after=deep),
        "category_page": lambda s: list_items(s, ADA, category="hate"),
        "search": lambda s: search(s, category="hate", tenant="tenant3"),
        "next_item": take,
    } | ({"counts": lambda s: counts(s, ADA)} if count > 1000 else {})


async def timed(question: Question, store: Store) -> float:
    began = time.perf_counter()
    await question(store)
    return time.perf_counter() - began


async def plans(question: Question, store: Store) -> list[str]:
    """EXPLAIN ANALYZE of all that a question reads."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            asked.append((statement, parameters))

    event.listen(store.engine.sync_engine, "before_cursor_execute", note)
    await question(store)
    event.remove(store.engine.sync_engine, "before_cursor_execute", note)
    lines: list[str] = []
    async with store.engine.connect() as connection:
        for statement, parameters in asked:
            found = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {statement}", parameters)
            lines += [row[0] for row in found.all()]
        await connection.rollback()
    return lines


async def measure(base: str, few: int, many: int, rounds: int, home: Path) -> dict[str, Any]:
    short, long = await filled(base, few, home), await filled(base, many, home)
    of_short, of_long = await questions(short), await questions(long)
    figures: dict[str, Any] = {"items": {"few": few, "many": many}}
    for name in of_short.keys() & of_long.keys():
        seconds: dict[int, list[float]] = {few: [], many: []}
        for n in range(rounds + 3):
            sides = [(few, of_short[name], short), (many, of_long[name], long)]
            for count, question, store in sides if n % 2 else sides[::-1]:
                took = await timed(question, store)
                if n >= 3:  # connections and caches are warm
                    seconds[count].append(took)
        ratio = median_ratio(seconds[many], seconds[few])
        millis = {count: round(sorted(s)[len(s) // 2] * 1000, 2) for count, s in seconds.items()}
        figures[name] = {"ratio": ratio.document(), "median_ms": {str(k): v for k, v in millis.items()}}
        print(f"{name:14} {many:,} beside {few:,} items: {ratio}   {millis[many]} ms beside {millis[few]} ms")
    for name in ("first_page", "deep_page", "next_item"):
        print(f"\n--- {name}, {many:,} items", *await plans(of_long[name], long), sep="\n")
    await short.close()
    await long.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,000 items beside 20,000; nothing is written")
    quick = parser.parse_args().quick
    few, many, rounds = (1_000, 20_000, 20) if quick else (10_000, 1_000_000, 60)
    with postgres() as base, TemporaryDirectory() as home:
        figures = asyncio.run(measure(base, few, many, rounds, Path(home)))
    if not quick:
        print(write("review", "python -m bench.review", figures))


if __name__ == "__main__":
    main()
