"""A real browser, and a console with real traffic behind it."""

import os
import shutil

import pytest

from tests.console.world import PASSWORD, sow, world
from tests.store.conftest import postgres  # noqa: F401  a real one, for the tests that ask for it

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]


@pytest.fixture(scope="module")  # while it is there a loop of its own runs in this thread: no test of another kind may
def browser():
    if not os.access(CHROMIUM, os.X_OK):
        pytest.skip("no browser. Run: sudo apt-get install -y chromium")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra: test)")
    api.expect.set_options(timeout=60_000)
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A running service and console with some traffic."""
    with world(tmp_path_factory.mktemp("home")) as made:
        sow(made)
        yield made


@pytest.fixture
def opened(browser, desk):
    """`opened(login)` logs somebody in in a browser of their own; what a page must never do ends the test."""
    contexts = []

    def open_(login="ada", made=desk, **options):
        context = browser.new_context(base_url=made.console, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        watch(page, made)
        if options.get("java_script_enabled", True):
            heard(page)
        if login:
            log_in(page, login)
        if login and options.get("java_script_enabled", True):
            ready(page)
        return page

    desk.fresh()
    yield open_
    pages = [page for context in contexts for page in context.pages]
    faults = [f for page in pages for f in page.faults if not any(word in f for word in page.allowed)]
    for context in contexts:
        context.close()
    assert faults == []


def watch(page, made):
    """Notes dialogs, errors, violations of the policy and requests to elsewhere in `page.faults`."""
    page.faults, page.allowed = [], []
    faults = page.faults
    page.on("dialog", lambda dialog: (faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))
    page.on(
        "console", lambda said: faults.append(f"console: {said.text}") if said.type in ("error", "warning") else None
    )
    page.on("request", lambda r: None if r.url.startswith(made.console) else faults.append(f"request: {r.url}"))
    page.add_init_script("addEventListener('securitypolicyviolation', e => console.error(e.violatedDirective))")


def allow(page, *words):
    """Lets faults that hold one of the words pass: the browser itself reports a status of 4xx as an error."""
    page.allowed += words


def ready(page):
    """Waits until the page's script is there: keys pressed before do nothing."""
    expect = pytest.importorskip("playwright.sync_api").expect
    expect(page.locator("html.scripted")).to_have_count(1)


def heard(page):
    """No key is pressed on a page before its script is there, whatever page the last key led to."""
    press = page.keyboard.press

    def pressed(key, **options):
        ready(page)
        press(key, **options)

    page.keyboard.press = pressed


def log_in(page, login, password=PASSWORD):
    page.goto("/login")
    page.get_by_label("Login").fill(login)
    page.get_by_label("Password").fill(password)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: not url.endswith("/login"))
