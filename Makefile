# `make` alone explains the targets.
PYTHON ?= python3
BIN := .venv/bin
UV_VERSION := 0.13.8
SEEDS ?= 1 2 3
DECOYS ?= 2
HEALTHY ?= 20

.DEFAULT_GOAL := help
.PHONY: help setup demo check test soak packages gameday golden bench lock clean

help:  ## what there is to make
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/ready  ## the environment, from the lock file

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v in ((3, 11), (3, 12)) else f"Python 3.11 or 3.12 is needed, this is {v[0]}.{v[1]}: make PYTHON=python3.12 setup")'
	@echo "Setting up the environment from requirements.lock (once)..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@install -D -m 644 opslib/jupyter/kernelspec/kernel.json .venv/share/jupyter/kernels/runbook/kernel.json  # editable installs leave it out
	@echo "Compiling the engine for this machine (once)..."
	@$(BIN)/python -m opslib.runs.caches
	@touch $@

demo: .venv/ready  ## alert, diagnosis, approval, fix, sealed record; KEEP=1 leaves everything running
	@$(BIN)/python -m sandbox.demo

check: .venv/ready  ## format, lint, types, fast tests; under 3 minutes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder -m "not slow and not acceptance"

test: .venv/ready packages  ## every test but the soak, with the servers they need
	$(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder -m "not cluster and not alone and not soak"
	$(BIN)/python -m pytest -q -m "(cluster or alone) and not soak"

soak: .venv/ready packages  ## fifty rounds of kills, five hundred kernels, a database that goes away, ten quiet minutes, every fault: the whole machine, an hour
	$(BIN)/python -m pytest -q -m soak

packages:  ## Prometheus, Alertmanager, nginx and Chromium, on Debian as root
	@sh .ci/packages

gameday: .venv/ready packages  ## every fault with each of SEEDS="1 2 3", and docs/gameday.md of it; hours, goes on when cut off; ONLY='var-breach/*' for some, no page
	@$(BIN)/runbook gameday --seeds '$(SEEDS)' --decoys $(DECOYS) --healthy $(HEALTHY) --pairs --unlisted $(if $(ONLY),--only '$(ONLY)',--page)

golden: .venv/ready  ## the golden records of tests/golden anew; RENEW=1 keeps their evidence, after a change of words
	@$(BIN)/python -m tests.golden $(if $(RENEW),--renew)
	@$(BIN)/ruff format --quiet tests/golden

bench: .venv/ready  ## figures against peers, which it installs; table and picture of docs/engine.md anew
	@$(BIN)/uv pip install --quiet --require-hashes --python $(BIN)/python -r bench/requirements.lock
	$(BIN)/python -m bench --docs

lock:  ## the lock files anew, from pyproject.toml; deploy/ has that of the image
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --extra dev \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		--constraint requirements.lock bench/requirements.in -o bench/requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --constraint requirements.lock \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml -o deploy/requirements.lock

clean:  ## the environment, caches and what the demo left; records under outputs/ stay
	-@test -x $(BIN)/runbook && $(BIN)/runbook sandbox down
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
