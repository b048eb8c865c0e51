"""The site as `make docs` builds it."""

import json
import re

import pytest

from docs.site import build as site
from docs.site.help import leaves
from guards.policy.file import schema
from service.api.auth import ACCESS
from service.settings import Settings
from training.cli import VERBS

FETCHED = re.compile(r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=["']?([^"'\s>]+)""")
LINKED = re.compile(r"""<link\b[^>]*\bhref=["']?([^"'\s>]+)""")
FOREIGN = re.compile(r"^(?:https?:)?//")


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    """Built once, strictly: a link or an anchor to nothing ends it."""
    return site.build(tmp_path_factory.mktemp("site"))


def reference(html, name):
    return (html / "reference" / f"{name}.html").read_text()


def test_nothing_is_fetched_from_elsewhere(html):
    """No page, style or picture of the site makes a browser ask another host."""
    pages = list(html.rglob("*.html"))
    assert len(pages) > 60
    for page in pages:
        text = page.read_text()
        assert [url for url in FETCHED.findall(text) + LINKED.findall(text) if FOREIGN.match(url)] == [], page
    for file in (*html.rglob("*.css"), *html.glob("*.svg")):
        urls = re.findall(r"""(?:url\(|@import\s+)["']?([^"')\s]+)""", file.read_text())
        assert [url for url in urls if FOREIGN.match(url)] == [], file


def test_the_reference_holds_all_there_is(html):
    """Every setting, route, field of a policy, metric, alert and verb of both commands is on its page."""
    import typer

    from service.cli.main import app

    settings, api, policy, commands = (reference(html, name) for name in ("settings", "api", "policy", "commands"))
    assert [n for n in Settings.model_fields if f"SLUICEGATE_{n.upper()}<" not in settings] == []
    told = {path.replace(":path}", "}") for path in ACCESS} - {"/openapi.json"}
    assert [path for path in told if f"{path}<" not in api] == []
    assert [field for field in schema()["properties"] if f">{field}<" not in policy] == []
    verbs = [path for path, _ in leaves("sluicegate", typer.main.get_command(app))]
    assert len(verbs) > 40
    assert [verb for verb in [*verbs, *(f"sluicegate-train {v}" for v in VERBS)] if f"{verb}<" not in commands] == []
    alerts = re.findall(r"alert: (\w+)", site.reference.RULES.read_text())
    assert [alert for alert in alerts if f"{alert}<" not in reference(html, "alerts")] == []
    assert "sluicegate_exchanges_total" in reference(html, "metrics")


def test_diagrams_are_pictures(html):
    """Each diagram of the documents is drawn, and none is left to a reader's browser."""
    for page, picture in (("readme", "readme-the-way-of-a-request"), ("security", "security-who-and-from-where")):
        assert f'{picture}.svg"' in (html / f"{page}.html").read_text()
        assert "<svg" in (html / f"{picture}.svg").read_text()
    assert not any('class="mermaid"' in page.read_text() for page in html.rglob("*.html"))


def test_every_page_can_be_searched_for(html):
    """The search's index has every page of the documents and of the reference."""
    index = json.dumps(json.loads((html / "search.json").read_text()))
    for page in ("tutorials/operator.html", "how-to/rotate-keys.html", "policy.html", "reference/settings.html"):
        assert page in index


def test_no_machine_is_named(html):
    """The folder that the site was built in is in none of its pages."""
    assert not [page for page in html.rglob("*.html") if str(site.ROOT) in page.read_text()]


def test_a_link_to_nothing_ends_the_build(tmp_path):
    """A document that links to a file that is not there is named, with the link; what is only code is no link."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "data.csv").write_text("a,b\n")
    page = tmp_path / "docs/policy.md"
    page.write_text(
        "# Policy\n\n`[no](link.md)` [figures](../data.csv) [runbooks](runbooks#late)\n\n```md\n[no](one.md)\n```\n"
    )
    site.documents(tmp_path, tmp_path / "pages")
    assert (
        "[figures](files/data.csv) [runbooks](reference/alerts.md#late)" in (tmp_path / "pages/policy.md").read_text()
    )
    page.write_text("See [the other](other.md#here).\n")
    with pytest.raises(site.BuildError, match=r"^docs/policy\.md: link to nothing: other\.md$"):
        site.documents(tmp_path, tmp_path / "pages")
