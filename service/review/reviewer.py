"""Who reviews, and what they may see. Pure."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final


class ReviewError(Exception):
    """What was asked of the review cannot be done. The message says what to do."""


class Unknown(ReviewError):
    """There is no such thing, or not for whoever asks."""


class Forbidden(ReviewError):
    """It is there, and for others."""


class Role(enum.StrEnum):
    """What a user may do. `restricted` is a clearance beside the others: to see the restricted queue."""

    MODERATOR = "moderator"
    LEAD = "lead"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"
    RESTRICTED = "restricted"


@dataclass(frozen=True, slots=True)
class Reviewer:
    """`name` signs decisions: a login, or a key's id. `opt_out`: categories not to be served.

    `tenant`: whose exchanges they may see; None: everybody's.
    """

    name: str
    roles: frozenset[str] = field(default=frozenset({"moderator"}))
    opt_out: frozenset[str] = frozenset()
    tenant: str | None = None

    @property
    def cleared(self) -> bool:
        return Role.RESTRICTED in self.roles

    @property
    def leads(self) -> bool:
        """Whether they adjudicate, and see what others decided."""
        return bool(self.roles & {Role.LEAD, Role.ADMIN})


def may_see(reviewer: Reviewer, queue: str, tenant: str | None = None) -> None:
    """Raises Forbidden when `queue` is not for them, Unknown when what is `tenant`'s is not."""
    if tenant is not None and reviewer.tenant not in (None, tenant):
        raise Unknown("there is no such item")
    if queue == RESTRICTED_QUEUE and not reviewer.cleared:
        raise Forbidden("this is for reviewers with the clearance `restricted` alone")


def visible(reviewer: Reviewer, queues: Iterable[str]) -> list[str]:
    """Those of the queues that they may see."""
    return [queue for queue in queues if queue != RESTRICTED_QUEUE or reviewer.cleared]


RESTRICTED_QUEUE: Final = "restricted"
