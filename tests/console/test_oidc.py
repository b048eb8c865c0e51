"""Login with an identity provider: a real one on loopback, honest or not, and a real browser."""

import re
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import RSAKey
from playwright.sync_api import expect
from pydantic import SecretStr

from service.review.identities import roles_of
from service.review.users import disable_user, list_users
from tests.console.conftest import allow
from tests.console.provider import CLIENT, SECRET, openid_provider
from tests.console.world import PASSWORD, world

ROLES = {"staff": "moderator", "heads": "lead", "gods": "almighty"}


@pytest.fixture(scope="module")
def provider():
    with openid_provider() as made:
        yield made


@pytest.fixture(scope="module")
def desk(tmp_path_factory, provider):
    """A console that trusts the provider, and one user with a password and an address."""
    settings = {"oidc_issuer": provider.issuer, "oidc_client_id": CLIENT, "oidc_roles": ROLES}
    settings["oidc_client_secret"] = SecretStr(SECRET)
    with world(tmp_path_factory.mktemp("home"), ("ada",), **settings) as made:
        yield made


@pytest.fixture(autouse=True)
def honest(provider):
    """The provider's usual word: one person of the staff."""
    provider.claims = {"sub": "42", "preferred_username": "Ada L.", "groups": ["staff", "others"]}
    provider.signing = provider.key


@pytest.fixture
def browser_(desk):
    """A browser without a page."""
    with httpx.Client(base_url=desk.console, timeout=30) as client:
        yield client


def through(browser, provider):
    """From the button to the way back; returns the console's answer there."""
    to_provider = browser.get("/oidc")
    assert to_provider.status_code == 302
    back = httpx.get(to_provider.headers["location"].replace("localhost", "127.0.0.1")).headers["location"]
    return browser.get(back)


def users(desk):
    return {u.login: u for u in desk.run(list_users(desk.store))}


def test_a_browser_comes_back_logged_in(opened, desk, provider):
    """From the login's button over another site and back, with a strict cookie, to one's own shift."""
    page = opened(None)
    allow(page, provider.issuer)
    page.goto("/login")
    page.get_by_role("link", name="Log in with localhost").press("Enter")
    expect(page.get_by_role("heading", name="My shift")).to_be_visible()
    expect(page.get_by_role("button", name="Log out ada-l-")).to_be_visible()
    cookies = {c["name"]: c for c in page.context.cookies()}
    assert cookies["sluicegate_console"]["sameSite"] == "Strict"
    assert cookies["sluicegate_console"]["httpOnly"]
    asked = provider.asked[-1]
    assert {"state", "nonce", "code_challenge"} <= asked.keys()
    assert asked["scope"] == "openid profile"


def test_roles_are_the_providers_word_at_each_login(browser_, desk, provider):
    """The claim's values become roles, unknown ones none; the next login brings what is true by then."""
    provider.claims |= {"sub": "roles", "preferred_username": "Rex", "groups": ["staff", "gods", 7]}
    assert through(browser_, provider).status_code == 200
    (login,) = [n for n in users(desk) if n.startswith("rex-")]
    assert users(desk)[login].roles == {"moderator"}
    count = len(users(desk))
    provider.claims |= {"preferred_username": "Ada Married", "groups": "heads"}
    assert through(browser_, provider).status_code == 200
    assert len(users(desk)) == count
    assert users(desk)[login].roles == {"lead"}


def test_nobody_is_linked_by_a_name_or_an_address(browser_, desk, provider):
    """A token that says `ada` and her address is another user than the ada who has a password here."""
    provider.claims |= {"sub": "mallory", "preferred_username": "ada", "email": "ada", "email_verified": True}
    before = users(desk)["ada"]
    assert through(browser_, provider).status_code == 200
    page = browser_.get("/").text
    assert re.search(r"Log out ada-[0-9a-f]{8}", page)
    assert users(desk)["ada"] == before


def test_without_a_role_there_is_no_user(browser_, desk, provider):
    """Whoever the provider vouches for and gives no role gets no session and no account; a disabled one none again."""
    provider.claims |= {"sub": "stranger", "groups": ["others"]}
    count = len(users(desk))
    answer = through(browser_, provider)
    assert (answer.status_code, len(users(desk))) == (403, count)
    assert browser_.get("/").headers["location"] == "/login"
    provider.claims |= {"sub": "leaver", "groups": ["staff"], "preferred_username": "leaver"}
    assert through(browser_, provider).status_code == 200
    (login,) = [n for n in users(desk) if n.startswith("leaver-")]
    desk.run(disable_user(desk.store, login))
    assert through(browser_, provider).status_code == 403
    assert browser_.get("/").headers["location"] == "/login"


@pytest.mark.parametrize(
    "lie",
    [{"nonce": "another"}, {"aud": "another"}, {"iss": "https://evil.example"}, {"exp": 1}, {"sub": ""}, "key"],
    ids=str,
)
def test_a_token_that_is_not_as_it_must_be_is_not_believed(browser_, desk, provider, lie):
    """Another nonce, audience, issuer or key, a time that is over, no subject: no session, and nothing is created."""
    if lie == "key":
        provider.signing = RSAKey.generate_key(2048, {"kid": "one"}, private=True)
    else:
        provider.claims |= {"sub": "liar", **lie}
    count = len(users(desk))
    answer = through(browser_, provider)
    assert answer.status_code == 403
    assert "cannot be believed" in answer.text or "not of the provider" in answer.text
    assert len(users(desk)) == count
    assert browser_.get("/").headers["location"] == "/login"


def test_a_way_back_that_was_not_begun_here_is_refused(browser_, desk, provider):
    """A foreign state, a login begun in another browser, a code used twice: none of them gives a session."""
    assert browser_.get("/oidc/back?code=x&state=y").status_code == 403
    with httpx.Client(base_url=desk.console, timeout=30) as other:
        begun = other.get("/oidc").headers["location"]
        back = httpx.get(begun.replace("localhost", "127.0.0.1")).headers["location"]
        assert parse_qs(urlsplit(back).query)["state"]
        assert browser_.get(back).status_code == 403
        assert other.get(back).status_code == 200
        assert other.get(back).status_code == 403


def test_a_provider_that_is_silent_is_named(tmp_path):
    """An address where nothing answers is told as such, and the password still works."""
    silent = {"oidc_issuer": "http://127.0.0.1:9", "oidc_client_id": "x"}
    with world(tmp_path, ("ada",), **silent) as made, httpx.Client(base_url=made.console, timeout=30) as browser:
        browser.headers["origin"] = made.console
        answer = browser.get("/oidc")
        assert answer.status_code == 403
        assert "127.0.0.1:9 does not answer" in answer.text
        csrf = re.search(r'name="csrf" value="(\w+)"', browser.get("/login").text)[1]
        entered = browser.post("/login", data={"csrf": csrf, "login": "ada", "password": PASSWORD})
        assert entered.headers["location"] == "/"


def test_values_that_are_no_role_are_left_out():
    """One value or several; what the mapping or the roles do not know gives nothing."""
    assert roles_of(["staff", "heads", "none", 3], ROLES) == ["lead", "moderator"]
    assert roles_of("staff", ROLES) == ["moderator"]
    assert roles_of({"staff": 1}, ROLES) == roles_of(None, ROLES) == roles_of(["gods"], ROLES) == []


def test_without_a_provider_there_is_no_such_page(tmp_path):
    """A console whose settings name none offers no button, and its address is not there."""
    with world(tmp_path, ("ada",)) as made, httpx.Client(base_url=made.console, timeout=30) as browser:
        assert "Log in with" not in browser.get("/login").text
        assert browser.get("/oidc").status_code == 404
