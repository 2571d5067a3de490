# Two commands matter: `make serve` and `make test`. Both install what they need into their own virtual environment.
PYTHON ?= python3.11
SERVE  := .venv-serve
DEV    := .venv
RECHUB := .venv-rechub
MODELS ?= models_onnx

.PHONY: help serve test check demo-bundle bench-ebnerd bench-synthetic bench-models bench-train bench-fusion prove-fusion clean

help:
	@echo "make serve         serve the demo model on 127.0.0.1:8000 (FULCRUM_PORT moves it)"
	@echo "make test          lint, types, import rules and all tests"
	@echo "make demo-bundle   train the demo model on the simulator and publish it"
	@echo "make bench-ebnerd  train on EB-NeRD with 3 seeds and write docs/benchmarks/ebnerd.md"
	@echo "make bench-synthetic  gates and the relation of tasks, and docs/benchmarks/synthetic.md"
	@echo "make bench-models  every architecture on every data set over seeds, and docs/benchmarks/models.md"
	@echo "make bench-fusion  what hand-tuning, search and learning gain over the default formula, and its page"
	@echo "make prove-fusion  1,000 fusion changes under load, on SQLite and on a Valkey that is killed, and its page"
	@echo "make bench-train   training speed beside torch-rechub, and docs/benchmarks/training-speed.md"

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

bench-synthetic: $(DEV)/.installed
	$(DEV)/bin/python -m training.benchmarks.synthetic

bench-models: $(DEV)/.installed
	$(DEV)/bin/python -m training.benchmarks.models
	$(DEV)/bin/python -m training.benchmarks.models_page docs/benchmarks/models.jsonl docs/benchmarks/models.md

bench-train: $(DEV)/.installed $(RECHUB)/.installed
	$(DEV)/bin/python -m training.benchmarks.train_speed $(RECHUB)/bin/python docs/benchmarks/training-speed.md

bench-fusion: $(DEV)/.installed
	OMP_NUM_THREADS=1 $(DEV)/bin/python -m training.benchmarks.fusion_gains docs/benchmarks/fusion.md

prove-fusion: $(DEV)/.installed
	$(DEV)/bin/python -m tests.e2e.prove_control_plane docs/benchmarks/control-plane.md

# The serving environment has no torch.
$(SERVE)/.installed: requirements/serve.txt requirements/build.txt pyproject.toml
	$(PYTHON) -m venv $(SERVE)
	$(SERVE)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/build.txt -r requirements/serve.txt
	$(SERVE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV)/.installed: requirements/serve.txt requirements/train.txt requirements/fuse.txt requirements/test.txt requirements/build.txt pyproject.toml
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(DEV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/build.txt -r requirements/test.txt
	$(DEV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(RECHUB)/.installed: requirements/rechub.txt
	$(PYTHON) -m venv $(RECHUB)
	$(RECHUB)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(RECHUB)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/rechub.txt
	@touch $@

clean:
	rm -rf $(SERVE) $(DEV) $(RECHUB) build dist var
