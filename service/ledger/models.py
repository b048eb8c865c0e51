"""The ledger's tables. Times are unix seconds. Text of users lives in `contents` alone, sealed; all else refers to it.

Those of review are in `desk`: one metadata, one tree of migrations.
"""

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, LargeBinary, MetaData, false, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from service.gate.exchange import Json


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  SQLAlchemy reads it from the class
        float: Double,
        int: BigInteger,
        Json: JSON(none_as_null=True),
        list[Any]: JSON,
    }


class Exchange(Base):
    __tablename__ = "exchanges"
    __table_args__ = (
        Index(None, "flagged", "asked_at"),
        Index(
            "ix_exchanges_kept",
            "retention_class",
            "closed_at",
            sqlite_where=text("erased_at IS NULL"),
            postgresql_where=text("erased_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    asked_at: Mapped[float] = mapped_column(index=True)
    closed_at: Mapped[float]
    endpoint: Mapped[str]
    model: Mapped[str]
    stream: Mapped[bool]
    choices: Mapped[int]
    key_id: Mapped[str]
    tenant: Mapped[str]
    subject: Mapped[str | None] = mapped_column(index=True)  # keyed hash
    policy: Mapped[str]
    policy_version: Mapped[int]
    policy_digest: Mapped[str]
    store: Mapped[str]
    sampled: Mapped[bool]
    outcome: Mapped[str]
    flagged: Mapped[bool]
    duration_s: Mapped[float | None]
    first_content_s: Mapped[float | None]
    usage: Mapped[Json | None]
    scores: Mapped[Json | None]  # guard -> version, digest, highest scores at input and output
    erased_at: Mapped[float | None]
    legal_hold: Mapped[bool] = mapped_column(server_default=false())  # beats retention and erasure
    retention_class: Mapped[str] = mapped_column(server_default="flagged")


class VerdictRow(Base):
    __tablename__ = "verdicts"

    event_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    exchange_id: Mapped[str] = mapped_column(ForeignKey(Exchange.id), index=True)
    at: Mapped[float]
    stage: Mapped[str]
    choice: Mapped[int | None]
    channel: Mapped[str | None]
    blocked: Mapped[bool]
    released_chars: Mapped[int]
    guard: Mapped[str]
    version: Mapped[str]
    digest: Mapped[str]
    category: Mapped[str]
    score: Mapped[float | None]
    threshold: Mapped[float]
    action: Mapped[str]
    mode: Mapped[str]
    policy: Mapped[str]
    policy_digest: Mapped[str]
    error: Mapped[str | None]
    spans: Mapped[list[Any]]


class DeliveryRow(Base):
    __tablename__ = "deliveries"

    exchange_id: Mapped[str] = mapped_column(ForeignKey(Exchange.id), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    choice: Mapped[int]
    channel: Mapped[str]
    generated_chars: Mapped[int]
    released_chars: Mapped[int]
    withheld_chars: Mapped[int]
    finish_reason: Mapped[str | None]


class ContentKey(Base):
    """The wrapped data keys. A table of its own, so that backups can leave it out: erasure then reaches them too."""

    __tablename__ = "content_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    exchange_id: Mapped[str] = mapped_column(ForeignKey(Exchange.id), index=True)
    master_id: Mapped[str]
    wrapped: Mapped[bytes] = mapped_column(LargeBinary)


class Content(Base):
    """Sealed texts of one event (or of one decision's note)."""

    __tablename__ = "contents"

    event_id: Mapped[str] = mapped_column(primary_key=True)
    exchange_id: Mapped[str] = mapped_column(ForeignKey(Exchange.id), index=True)
    key_id: Mapped[str] = mapped_column(ForeignKey(ContentKey.id))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class ApiKey(Base):
    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    hash: Mapped[str] = mapped_column(unique=True)
    tenant: Mapped[str]
    role: Mapped[str]
    name: Mapped[str]
    requests_per_minute: Mapped[int | None]
    created_at: Mapped[float]
    revoked_at: Mapped[float | None]


class Mark(Base):
    """What a flagged text shares with its near-duplicates (`likeness`). Erased with the text."""

    __tablename__ = "marks"

    exchange_id: Mapped[str] = mapped_column(ForeignKey(Exchange.id), primary_key=True)
    mark: Mapped[str] = mapped_column(primary_key=True, index=True)


class PolicyRow(Base):
    """A policy file that was in force: its text, and the gateway that took it first. Never changed."""

    __tablename__ = "policies"

    digest: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[int]
    text: Mapped[str]
    at: Mapped[float] = mapped_column(index=True)
    by: Mapped[str]


class PolicyPart(Base):
    """One of the policies that a file makes with its overlays; `digest` is what exchanges and verdicts name."""

    __tablename__ = "policy_parts"

    file: Mapped[str] = mapped_column(ForeignKey(PolicyRow.digest), primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(index=True)


class AuditRow(Base):
    """Who did or read what: each row's hash covers the one before."""

    __tablename__ = "audit_log"

    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[float]
    actor: Mapped[str] = mapped_column(index=True)
    action: Mapped[str]
    object: Mapped[str] = mapped_column(index=True)
    detail: Mapped[Json]
    previous_hash: Mapped[str]
    hash: Mapped[str] = mapped_column(unique=True)


class Tombstone(Base):
    """That the texts of an exchange were destroyed, when, why and by whom."""

    __tablename__ = "tombstones"

    exchange_id: Mapped[str] = mapped_column(ForeignKey(Exchange.id), primary_key=True)
    at: Mapped[float]
    why: Mapped[str]
    by: Mapped[str]
