#!/usr/bin/env bash
# The bill of materials (CycloneDX, JSON) of the Python that the gateway's image holds: helm/sbom.sh > sluicegate.cdx.json
# It makes the environment as the Dockerfile does and lists it; or it lists one that is there: helm/sbom.sh .venv/bin/python
set -euo pipefail
cd "$(dirname "$0")/.."
lister=var/tools/bin/cyclonedx-py
[ -x $lister ] || { echo "cyclonedx-py is not here. Run: helm/tools.sh" >&2; exit 1; }
if [ $# = 0 ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  "${PYTHON:-python3}" -m venv "$work"
  "$work/bin/pip" install --quiet --disable-pip-version-check --constraint constraints.txt '.[postgres]' >&2
  set -- "$work/bin/python"
fi
$lister environment --pyproject pyproject.toml --output-reproducible --output-format JSON "$1"
