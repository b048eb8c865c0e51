#!/usr/bin/env bash
# The bill of materials (CycloneDX, JSON) of an image, its system's packages too, by syft: helm/sbom.sh > sluicegate.cdx.json
# By default of the gateway's image as helm/images.sh builds it; else of another image, or of a folder: helm/sbom.sh dir:.venv
set -euo pipefail
cd "$(dirname "$0")/.."
syft=$(command -v syft || echo var/tools/bin/syft)
[ -x "$syft" ] || { echo "syft is not here. Run: helm/tools.sh" >&2; exit 1; }
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
of=${1:-localhost/sluicegate/gateway:$version}
if [ "${of#dir:}" = "$of" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  buildah push --quiet "$of" "oci-archive:$work/image.tar" >&2
  of=oci-archive:$work/image.tar
fi
SYFT_CHECK_FOR_APP_UPDATE=false "$syft" scan "$of" --quiet --source-name sluicegate --source-version "$version" --output cyclonedx-json
