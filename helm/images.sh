#!/usr/bin/env bash
# Builds the images with buildah, and their bills of materials (helm/sbom.sh) if syft is here. Example: helm/images.sh gateway training
# Where Python's image cannot be pulled it is made of Debian's Python by debootstrap (as root), for tests: BASE=debian helm/images.sh
# MIRROR is a Debian mirror other than debootstrap's own; BUILD_FLAGS are for this network: "-v /etc/pip.conf:/etc/pip.conf:ro", say.
set -euo pipefail
cd "$(dirname "$0")/.."
flags=(--isolation chroot --layers)

if [ "${BASE:-}" = debian ]; then
  flags+=(--pull-never --build-arg PYTHON=of-debian)
  if ! buildah inspect --type image docker.io/library/python:of-debian >/dev/null 2>&1; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$work/base" ${MIRROR:+"$MIRROR"} >&2
    ln -s python3 "$work/base/usr/bin/python"
    rm -rf "$work"/base/var/cache/apt/archives/*.deb "$work"/base/var/lib/apt/lists/*
    made=$(buildah from scratch)
    buildah copy "$made" "$work/base" / >&2
    buildah commit --rm "$made" docker.io/library/python:of-debian >&2
  fi
fi

version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
for target in "${@:-gateway}"; do
  case $target in trial-*) file=tests/deploy/pods/Dockerfile ;; *) file=Dockerfile ;; esac
  ignore=$([ $file = Dockerfile ] && echo .dockerignore || echo /dev/null)
  # shellcheck disable=SC2086 # several flags in one variable
  buildah bud "${flags[@]}" ${BUILD_FLAGS:-} --format docker --file $file --ignorefile "$ignore" --target "$target" \
    --tag "localhost/sluicegate/$target:$version" .
  if [ -x var/tools/bin/syft ]; then helm/sbom.sh "localhost/sluicegate/$target:$version" >"var/$target.cdx.json"; fi
done
