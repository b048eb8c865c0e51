"""Who gets in, what each role may open, and what every response says. Requests without a browser."""

import re
import time

import httpx
import pytest
import sqlalchemy as sa

from service.learning.lineage import add_dataset
from service.ledger.desk import UserRow
from service.ledger.routing import item_id
from service.review.console.app import _PAGES
from service.review.console.auth import ACCESS, COOKIE
from service.review.console.headers import POLICY
from tests.console.test_learning import DIGEST, register
from tests.console.world import PASSWORD, ROLES

VERSION = "0.0"


@pytest.fixture(scope="module")
def client(desk):
    """`client()`: a browser without a page, closed at the end."""
    made = []

    def make():
        made.append(httpx.Client(base_url=desk.console, headers={"origin": desk.console}, timeout=60))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="module", autouse=True)
def version(desk):
    """A version of a guard, for the pages about one."""
    desk.run(add_dataset(desk.store, "reviewed", "d" * 12, DIGEST, {}, desk.ids, "key_train"))
    register(desk, VERSION, True, "A card.")


@pytest.fixture(scope="module")
def sessions(client):
    """A logged-in client by role; `None` is somebody who never logged in."""
    return {role: enter(client(), role) for role in ROLES} | {None: client()}


def enter(browser, login, password=PASSWORD):
    browser.post("/login", data={"csrf": csrf(browser.get("/login")), "login": login, "password": password})
    return browser


def csrf(page):
    return re.search(r'name="csrf" value="(\w+)"', page.text)[1]


def at(path, desk):
    known = {"login": "ada", "task_id": "none", "name": "default", "version": VERSION}
    return path.format(item_id=item_id(desk.ids[0], "flagged"), **known)


def test_every_page_has_its_roles():
    """A page that ACCESS does not name is for admins; all that there are are named."""
    assert {path for path, _, _ in _PAGES} == set(ACCESS)


@pytest.mark.parametrize("path", [p for p, methods, _ in _PAGES if "GET" in methods and ACCESS[p] is not None])
@pytest.mark.parametrize("role", [*ROLES, None])
def test_pages_by_direct_address(desk, sessions, role, path):
    """Each role opens the pages that are its own by their address, and no other; a stranger is sent to the login."""
    answer = sessions[role].get(at(path, desk))
    if role is None:
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        return
    assert answer.status_code == (200 if role in ACCESS[path] else 403)
    assert ("Not for you" in answer.text) == (role not in ACCESS[path])


@pytest.mark.parametrize(
    "path", [p for p, methods, _ in _PAGES if "POST" in methods and p not in ("/login", "/logout")]
)
@pytest.mark.parametrize("role", ["operator", "auditor", "moderator", "lead"])
def test_forms_by_direct_address(desk, sessions, role, path):
    """A form of a page that a role may not use is refused, however well it is made."""
    browser = sessions[role]
    answer = browser.post(at(path, desk), data={"csrf": csrf(browser.get("/preferences"))})
    assert (answer.status_code == 403) == (role not in ACCESS[path])


@pytest.mark.parametrize(
    ("origin", "token", "why"),
    [
        ("https://evil.example", "right", "not sent from the console"),
        ("null", "right", "not sent from the console"),
        (None, "right", "not sent from the console"),
        ("own", "", "another session"),
        ("own", "0" * 64, "another session"),
        ("own", "né", "another session"),
    ],
)
def test_a_form_from_elsewhere_is_refused(desk, sessions, origin, token, why):
    """Without our origin or the session's own mark a form changes nothing."""
    browser = sessions["moderator"]
    data = {"csrf": csrf(browser.get("/preferences")) if token == "right" else token, "keys": "off"}
    browser.headers.pop("origin")
    if origin:
        browser.headers["origin"] = desk.console if origin == "own" else origin
    try:
        answer = browser.post("/preferences", data=data)
    finally:
        browser.headers["origin"] = desk.console
    assert answer.status_code == 403
    assert why in answer.text
    assert 'value="on" checked' in browser.get("/preferences").text


@pytest.mark.parametrize(
    "path",
    ["/", "/login", "/nothing", "/items/none", "/audit", "/static/console.js", "/static/none", "/static/../app.py"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_every_response_has_the_same_headers(sessions, path, method):
    """Pages, files, errors and refusals all carry the policy, and nothing inline is in them."""
    answer = sessions["moderator"].request(method, path)
    assert answer.headers["content-security-policy"] == POLICY
    for name, value in (("x-content-type-options", "nosniff"), ("cache-control", "no-store")):
        assert answer.headers.get_list(name) == [value]
    if "html" in answer.headers.get("content-type", ""):
        assert not re.search(r"<script(?![^>]* src=\"/static/)|<style|\sstyle=|\son\w+=|javascript:", answer.text)


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(client):
    """HttpOnly and SameSite=Strict, and another after the login than before it."""
    browser = client()
    first = browser.get("/login")
    before = browser.cookies[COOKIE]
    enter(browser, "ada")
    assert browser.cookies[COOKIE] != before
    assert {"httponly", "samesite=strict", "path=/"} <= {
        part.strip().lower() for part in first.headers["set-cookie"].split(";")
    }


def test_a_one_time_password_leads_to_another(client):
    """Who came with a one-time password opens nothing before it is changed; the old one then works no more."""
    browser = enter(client(), "new")
    assert browser.get("/queue").headers["location"] == "/password"
    form = browser.get("/password")
    chosen = {"csrf": csrf(form), "old": PASSWORD, "new": "another good password", "again": "another good password"}
    assert browser.post("/password", data=chosen | {"again": "different"}).status_code == 422
    assert browser.post("/password", data=chosen).headers["location"] == "/login"
    assert enter(client(), "new").get("/").status_code == 303
    assert enter(client(), "new", "another good password").get("/queue").status_code == 200


def test_a_session_ends_with_the_logout(desk, client):
    """A cookie that was copied before the logout is worth nothing after it."""
    browser = enter(client(), "bob")
    copied = browser.cookies[COOKIE]
    browser.post("/logout", data={"csrf": csrf(browser.get("/"))})
    stale = httpx.get(desk.console, cookies={COOKIE: copied})
    assert stale.headers["location"] == "/login"


def test_a_locked_account_is_refused_in_the_same_words(desk, client):
    """While an account is locked the right password gets the answer that a wrong one gets."""

    async def lock(until):
        async with desk.store.write() as connection:
            change = sa.update(UserRow).where(UserRow.login == "lead")
            await connection.execute(change.values(locked_until=until))

    browser = client()
    desk.run(lock(time.time() + 600))
    locked = browser.post("/login", data={"csrf": csrf(browser.get("/login")), "login": "lead", "password": PASSWORD})
    desk.run(lock(0.0))
    wrong = browser.post("/login", data={"csrf": csrf(browser.get("/login")), "login": "nobody", "password": PASSWORD})
    assert (locked.status_code, wrong.status_code) == (401, 401)
    assert locked.text == wrong.text


def test_a_form_that_is_too_long_is_not_read(client):
    """Beyond a megabyte a form is refused by its length alone, logged in or not."""
    assert client().post("/login", content=b"x" * 1_000_001).status_code == 413
