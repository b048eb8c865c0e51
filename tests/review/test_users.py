import asyncio
import time

import pytest
import sqlalchemy as sa

from service.ledger.models import AuditRow
from service.review.entries import list_items
from service.review.exposures import expose, meter
from service.review.reviewer import ReviewError
from service.review.sessions import IDLE_S, LONGEST_S, close_session, open_session, session_user
from service.review.users import (
    FREE_FAILURES,
    authenticate,
    create_user,
    disable_user,
    list_users,
    set_password,
    set_preferences,
    set_roles,
)
from tests.review.conftest import ADA, BOB

PASSWORD = "correct horse battery"
NOW = 2e9


async def test_a_user_logs_in_with_their_password_alone(store):
    """The right password opens, a wrong one and an unknown login do not, and no password is in the database."""
    await create_user(store, "ada", PASSWORD, ["moderator", "lead"], "Ada L.")
    user = await authenticate(store, "ada", PASSWORD)
    assert (user.login, user.name, user.roles) == ("ada", "Ada L.", {"moderator", "lead"})
    assert await authenticate(store, "ada", PASSWORD + " ") is None
    assert await authenticate(store, "nobody", PASSWORD) is None
    assert (await list_users(store)) == [user]


@pytest.mark.parametrize(
    ("login", "password", "roles", "message"),
    [
        ("A da", PASSWORD, ["lead"], "login"),
        ("ada", "short", ["lead"], "12 characters"),
        ("ada", PASSWORD, ["king"], "king"),
        ("ada", PASSWORD, [], "roles are of"),
    ],
)
async def test_a_wrong_user_is_refused_with_advice(store, login, password, roles, message):
    """Nothing is made of wrong input, and the message says what would be right."""
    with pytest.raises(ReviewError, match=message):
        await create_user(store, login, password, roles)
    assert await list_users(store) == []


async def test_a_login_is_taken_once(store):
    """A second user of the same login is refused."""
    await create_user(store, "ada", PASSWORD)
    with pytest.raises(ReviewError, match="taken"):
        await create_user(store, "ada", PASSWORD)


async def test_failures_lock_for_longer_and_longer(store):
    """After some failures even the right password waits; each further failure doubles the wait; success clears it."""
    await create_user(store, "ada", PASSWORD)
    for _ in range(FREE_FAILURES):
        assert await authenticate(store, "ada", "wrong", now=NOW) is None
    assert await authenticate(store, "ada", PASSWORD, now=NOW + 0.5) is None
    assert await authenticate(store, "ada", "wrong", now=NOW + 2) is None
    assert await authenticate(store, "ada", PASSWORD, now=NOW + 3) is None
    assert await authenticate(store, "ada", PASSWORD, now=NOW + 5) is not None
    assert await authenticate(store, "ada", "wrong", now=NOW + 5) is None
    assert await authenticate(store, "ada", PASSWORD, now=NOW + 5) is not None


async def test_guessing_in_parallel_gains_nothing(store):
    """Of many guesses at the same moment no more are looked at than one after the other would be."""
    await create_user(store, "ada", PASSWORD)
    guesses = [authenticate(store, "ada", f"guess number {n}", now=NOW) for n in range(FREE_FAILURES + 3)]
    await asyncio.gather(*guesses)
    async with store.read() as session:
        log = list(await session.scalars(sa.select(AuditRow.detail).where(AuditRow.action == "login")))
    assert sorted(d["outcome"] for d in log) == ["locked"] * 3 + ["wrong"] * FREE_FAILURES
    assert await authenticate(store, "ada", PASSWORD, now=NOW) is None


async def test_a_session_moves_its_end_with_use_and_ends_with_the_shift(store):
    """Idle for an hour it is over; in use it lasts, but not beyond a shift; logging out ends it at once."""
    user = await create_user(store, "ada", PASSWORD)
    token = await open_session(store, user, now=NOW)
    assert await session_user(store, token, now=NOW + IDLE_S - 1) == user
    assert await session_user(store, token, now=NOW + IDLE_S + 1) == user
    assert await session_user(store, token, now=NOW + 2 * IDLE_S + 2) is None
    token, at = await open_session(store, user, now=NOW), NOW
    while await session_user(store, token, now=at) is not None:
        at += IDLE_S / 2
    assert at - NOW == pytest.approx(LONGEST_S, abs=IDLE_S)
    token = await open_session(store, user)
    await close_session(store, token)
    assert await session_user(store, token) is None
    assert await session_user(store, "guessed") is None


async def test_disabled_means_out_at_once(store):
    """Disabling a user, or setting a password, ends their sessions; a disabled one cannot log in."""
    user = await create_user(store, "ada", PASSWORD)
    token = await open_session(store, user)
    await set_password(store, "ada", "another long password")
    assert await session_user(store, token) is None
    assert await authenticate(store, "ada", PASSWORD) is None
    token = await open_session(store, await authenticate(store, "ada", "another long password"))
    await disable_user(store, "ada")
    assert await session_user(store, token) is None
    assert await authenticate(store, "ada", "another long password") is None
    with pytest.raises(ReviewError, match="users list"):
        await disable_user(store, "eve")


async def test_roles_and_preferences_make_the_reviewer(store):
    """Clearance and opt-outs follow from what is stored, and a change holds for sessions that are open."""
    user = await create_user(store, "ada", PASSWORD)
    token = await open_session(store, user)
    assert not user.reviewer.cleared
    await set_roles(store, "ada", ["moderator", "restricted"])
    await set_preferences(store, "ada", {"opt_out": ["sexual"], "keys": "alt"})
    reviewer = (await session_user(store, token, now=time.time())).reviewer
    assert (reviewer.name, reviewer.cleared, reviewer.opt_out) == ("ada", True, {"sexual"})


async def test_what_was_shown_is_added_up(fill, store):
    """The meter counts characters, items and reveals of one reviewer since a moment; personal data needs a reason."""
    await fill(2)
    one, two = (e.id for e in (await list_items(store, ADA)).entries)
    await expose(store, one, ADA, "asked/0", 100, now=NOW)
    await expose(store, two, ADA, "0/content", 50, "reveal", "sexual", now=NOW + 10)
    await expose(store, two, ADA, "0/content", 5, "peek", "sexual", now=NOW + 10)
    await expose(store, two, BOB, "0/content", 999, now=NOW + 10)
    found = await meter(store, ADA, NOW)
    assert (found.chars, found.items, found.reveals, found.by_category) == (155, 2, 2, {"other": 100, "sexual": 55})
    assert (await meter(store, ADA, NOW + 1)).chars == 55
    with pytest.raises(ReviewError, match="why"):
        await expose(store, two, ADA, "asked/0", 5, "personal_data")
    with pytest.raises(ReviewError, match="peek"):
        await expose(store, two, ADA, "asked/0", 5, "stare")
