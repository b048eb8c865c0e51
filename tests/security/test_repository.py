"""What must not be in the repository."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = "AWSKey GitHubToken GitLabToken PrivateKey Slack Stripe Npm PypiToken OpenAI TwilioKey SendGrid"
SURE = [f"{name}Detector" for name in NAMES.split()]  # that look at form: entropy would find every digest in a test
EXAMPLES = ("tests/", "bench/", "training/recipes/", "docs/")  # made-up keys, which tests need


def test_no_secret_is_in_the_repository():
    """No file of the service, its guards, its training or its chart holds anything of the form of a key."""
    from detect_secrets import SecretsCollection
    from detect_secrets.settings import transient_settings

    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    files = [f for f in listed.stdout.splitlines() if not f.startswith(EXAMPLES) and (ROOT / f).suffix != ".onnx"]
    found = SecretsCollection(root=str(ROOT))
    with transient_settings({"plugins_used": [{"name": name} for name in SURE]}):
        for file in files:
            found.scan_file(file)
    assert sorted(found.data) == []


def test_the_page_on_security_names_tests_that_are_there():
    """Each test that the page on security names exists."""
    import re

    page = (ROOT / "docs/security.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page)
    assert len(named) > 20
    for path, test in named:
        assert (ROOT / path).exists(), path
        assert not test or f"def {test}(" in (ROOT / path).read_text(), f"{path}::{test}"
