# Two commands matter: `make serve` and `make test`. Both install what they need into their own virtual environment.
PYTHON ?= python3.11
SERVE  := .venv-serve
DEV    := .venv
MODELS ?= models_onnx

.PHONY: help serve test check demo-bundle bench-ebnerd clean

help:
	@echo "make serve         serve the demo model on 127.0.0.1:8000 (FULCRUM_PORT moves it)"
	@echo "make test          lint, types, import rules and all tests"
	@echo "make demo-bundle   train the demo model on the simulator and publish it"
	@echo "make bench-ebnerd  train on EB-NeRD with 3 seeds and write docs/benchmarks/ebnerd.md"

serve: $(SERVE)/.installed
	$(SERVE)/bin/python -m fulcrum serve --models $(MODELS)

test: check
	$(DEV)/bin/python -m pytest -q

check: $(DEV)/.installed
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports

demo-bundle: $(DEV)/.installed
	$(DEV)/bin/python -m fulcrum train --data simulator --rows 300000 --epochs 8 --arch mmoe --name demo \
		--embedding-dim 8 --out models_onnx

bench-ebnerd: $(DEV)/.installed
	$(DEV)/bin/python -m training.benchmarks.ebnerd docs/benchmarks/ebnerd.md

# The serving environment has no torch.
$(SERVE)/.installed: requirements/serve.txt requirements/build.txt pyproject.toml
	$(PYTHON) -m venv $(SERVE)
	$(SERVE)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/build.txt -r requirements/serve.txt
	$(SERVE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV)/.installed: requirements/serve.txt requirements/train.txt requirements/test.txt requirements/build.txt pyproject.toml
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(DEV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/build.txt -r requirements/test.txt
	$(DEV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf $(SERVE) $(DEV) build dist var
