# `make demo` and `make test` do all their own set-up on a Debian or Ubuntu machine with Python 3.11+.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
export OMP_NUM_THREADS ?= 1
export HF_HUB_OFFLINE = 1
export DVC_NO_ANALYTICS = 1

.PHONY: venv demo demo-ray demo-slurm test check fmt golden schema bench clean

venv: $(VENV)/.ready

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) tools/make_venv.py $(VENV)
	touch $@

demo: venv
	OMP_NUM_THREADS=2 $(BIN)/lora-ci demo

# The same on a real Ray or SLURM, of this machine alone, which is started for it and ended after it.
demo-ray: venv
	$(BIN)/python -m tools.demo_on ray

demo-slurm: venv
	$(BIN)/python tools/system_packages.py
	$(BIN)/python -m tools.demo_on slurm

test: venv check
	$(BIN)/python tools/system_packages.py
	$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m slow
	$(BIN)/python tools/system_packages.py --report

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/pytest -q -n 2 -m "not slow"

fmt: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

golden: venv
	$(BIN)/pytest -q --update-goldens
	git diff --stat

schema: venv
	$(BIN)/python -m lora_ci config schema > .lora-ci.schema.json

# The official trainer is measured too with: make bench SCRIPTS=diffusers/examples/text_to_image SCRIPT_PYTHON=...
SCRIPT_PYTHON ?= $(BIN)/python
bench: venv
	$(BIN)/python -m benchmarks.decide
	$(BIN)/python -m benchmarks.webhooks
	$(BIN)/python -m benchmarks.queue
	$(BIN)/python -m benchmarks.formats
	$(BIN)/python -m benchmarks.qa
	$(BIN)/python -m benchmarks.rejudging
	$(BIN)/python -m benchmarks.memory_needs
	$(BIN)/python -m benchmarks.selection
	$(BIN)/python -m benchmarks.captions
	$(BIN)/python -m benchmarks.training $(if $(SCRIPTS),--scripts $(SCRIPTS) --python $(SCRIPT_PYTHON))

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dist
