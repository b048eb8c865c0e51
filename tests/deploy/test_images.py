"""The Dockerfile, as far as it can be looked at without building it."""

import json
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from service.settings import Settings
from tests.deploy.chart import ROOT, tool

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_hadolint_finds_no_fault():
    """hadolint says nothing about the Dockerfile."""
    done = subprocess.run([tool("hadolint"), "Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_images_run_as_nobody_without_a_shell():
    """Each target ends with a user that is not root, and starts its command by itself."""
    stages = {name: of for of, name in re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.M)}
    assert stages["gateway"] == stages["training"] == "base"
    base = DOCKERFILE.partition(" AS base\n")[2].partition("\nFROM ")[0]
    assert "USER 10001:10001" in base
    for line in re.findall(r"^(?:ENTRYPOINT|CMD|\s+CMD) (.*)$", DOCKERFILE, re.M):
        assert line.startswith("["), f"a shell would be between: {line}"


def test_the_image_sets_only_what_the_service_reads():
    """Each SLUICEGATE_ variable of the image is a setting of this version."""
    names = set(re.findall(r"SLUICEGATE_([A-Z_]+)", DOCKERFILE))
    assert names
    assert names <= {name.upper() for name in Settings.model_fields}


def test_the_image_holds_what_the_package_needs():
    """What the Dockerfile copies passes .dockerignore, and every file beside the code is package data."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M)
    assert {word for words in copied for word in words.split()} == allowed
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    held = {path for name, globs in packages.items() for glob in globs for path in (ROOT / name).glob(glob)}
    listed = subprocess.run(["git", "ls-files", *packages], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    files = {ROOT / name for name in listed.stdout.splitlines() if not name.endswith((".py", ".md"))}
    assert files
    assert {path for path in files if path.exists()} - held == set()


def test_the_bill_of_materials_is_whole():
    """What helm/sbom.sh lists of an environment has every dependency of the project, in the version that is pinned."""
    tool("syft")
    done = subprocess.run(["helm/sbom.sh", f"dir:{sys.prefix}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    bill = json.loads(done.stdout)
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "sluicegate")
    listed = {canonicalize_name(c["name"]): c for c in bill["components"] if "pkg:pypi/" in c.get("purl", "")}
    pinned = (Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    versions = {canonicalize_name(r.name): str(r.specifier) for r in pinned}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in project["dependencies"]:
        name = canonicalize_name(Requirement(line).name)
        assert f"=={listed[name]['version']}" == versions[name]
    told = [c for c in listed.values() if c.get("licenses")]
    assert len(told) > 0.9 * len(listed)
