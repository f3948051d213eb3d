# One command for each thing; `make help` lists them. Each does all its own set-up.
PYTHON ?= python3
UV := .tools/bin/uv
RUN := $(UV) run --frozen
PYTEST_ARGS ?= -n 2 --dist loadfile
# The tests start the program a thousand times: only the first need compile it.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup quickstart test check unit docs bench soak clean

help:  ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 14

$(UV):
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .tools 'uv>=0.9'

setup: $(UV)  ## Install uv and the project's environment
	$(UV) sync --frozen --quiet --compile-bytecode
	sh tests/system_packages.sh

quickstart: setup  ## Make a small model, serve it here with vLLM, and talk to it
	$(RUN) python examples/quickstart.py

test: setup  ## Run every test, with real engines and a simulated cloud region
	if [ "$$(id -u)" -eq 0 ]; then $(RUN) python -m tests.cloud.image; fi
	$(RUN) pytest $(PYTEST_ARGS)

unit: setup  ## Run the tests that take seconds
	$(RUN) pytest tests/unit tests/golden

check: setup  ## Format, lint, types, layers, dependencies, documentation
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) lint-imports
	$(RUN) deptry .
	$(RUN) python docs/generate_cli.py --check
	$(RUN) python docs/generate_config.py --check

docs: setup  ## Write anew what is made from the program: references and the schema
	$(RUN) python docs/generate_cli.py
	$(RUN) python docs/generate_config.py
	$(RUN) llm-atc config schema > llm_atc/config/schema.json

bench: setup  ## Run every benchmark
	sh tests/system_packages.sh wrk nginx
	$(RUN) python -m benchmarks.cli
	$(RUN) python -m benchmarks.relay
	$(RUN) python -m benchmarks.fit
	$(RUN) python -m benchmarks.ready

soak: setup  ## A million requests through the relay, and whether its memory grows
	sh tests/system_packages.sh wrk
	$(RUN) python -m benchmarks.soak

clean:  ## Remove what was built here
	rm -rf .venv .tools dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
