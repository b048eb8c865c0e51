# Sluicegate. `make` lists what there is.
SHELL := /bin/bash
PYTHON ?= python3
GATEWAY := .venv/.ready
ENGINE := .venv-engine/.ready

.PHONY: help serve test prove bench lint docs tools clean
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(GATEWAY): pyproject.toml constraints.txt
	@echo "gateway environment (.venv): a minute or two the first time"
	@$(PYTHON) -c 'import sys; v=sys.version_info[:2]; sys.exit(0 if (3,11) <= v <= (3,12) else f"Python 3.11 or 3.12 is needed, this is {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv .venv || { echo "the venv module is missing. Run: sudo apt-get install -y python3-venv"; exit 1; }
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

$(ENGINE): $(GATEWAY) service/engine/install.py constraints.txt
	@.venv/bin/sluicegate engine install

TRAINING := .venv-engine/.training
$(TRAINING): $(ENGINE)
	@echo "training of the LLM (.venv-engine): half a minute the first time"
	@.venv-engine/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[llm]'
	@touch $@

.PHONY: train-env
train-env: $(TRAINING)  ## what training the LLM needs, added to the engine's environment

# an engine elsewhere needs no vLLM here
serve: $(GATEWAY) $(if $(SLUICEGATE_ENGINE_URL),,$(ENGINE))  ## the guarded chat service with a real model on http://127.0.0.1:8080 (PORT=...)
	@exec .venv/bin/sluicegate serve

.PHONY: loop-demo
loop-demo: $(GATEWAY) $(ENGINE)  ## decisions to a better guard in force, once, on real data (SLUICEGATE_DATA) with the real engine
	@SLUICEGATE_DATA=$(or $(SLUICEGATE_DATA),../shared/data) .venv/bin/python -m bench.loop_demo $(if $(SOURCE),--source $(SOURCE))

.PHONY: demo
demo: $(GATEWAY)  ## varied traffic through the running service, so that the console is full (URL=..., KEY=..., ROUNDS=3)
	@.venv/bin/python -m bench.demo --url $(or $(URL),http://127.0.0.1:8080) --rounds $(or $(ROUNDS),3)

# the console is tested in a browser; without one those tests are skipped and say so
.PHONY: browser
browser:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
	  || echo "the console's tests need a browser. Run: sudo apt-get install -y chromium"

test: $(GATEWAY) $(ENGINE) $(TRAINING) browser  ## every check, small counts, under 30 minutes
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/pytest -n 2 --no-loadscope-reorder

prove: $(GATEWAY) $(ENGINE) $(TRAINING) browser  ## the same checks at full counts (hours); figures go to bench/results
	@SLUICEGATE_PROVE=1 .venv/bin/pytest --timeout 14400

bench: $(GATEWAY) $(ENGINE)  ## speed beside the very same vLLM without the gateway, and beside a bare relay; to bench/results
	@.venv/bin/python -m bench.relay && .venv/bin/python -m bench.paired

lint: $(GATEWAY)  ## ruff, mypy, import-linter
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports

docs: $(GATEWAY)  ## the documentation as a site, into var/site; it reads without a network
	@.venv/bin/python -m docs.site.build

tools:  ## helm, Prometheus, Alertmanager, hadolint, kubernetes-validate for the tests of the deployment, into var/tools
	@PYTHON=$(PYTHON) helm/tools.sh

clean:  ## remove both environments (var/ stays)
	@rm -rf .venv .venv-engine
