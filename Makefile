# Two commands for a fresh machine: make demo, make test. Both install what they need, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test gpu test-gpu lint format check bench bench-gpu reproduce pretrain clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rankwell needs Python 3.11 or newer; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cpu,cluster,datasets,elasticsearch,encoders,lightgbm,onnx,otel,report,tune,dev]'
	touch $@

demo: install
	$(BIN)/rankwell demo

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: lint test

bench: install
	$(BIN)/python benchmarks/main_job.py

# on a machine with a GPU: the extra of that name takes the place of faiss-cpu
gpu: install
	$(BIN)/python -m pip uninstall --quiet --yes faiss-cpu
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[gpu]'

test-gpu: gpu
	RANKWELL_REQUIRE=gpu $(BIN)/python -m pytest -m gpu

bench-gpu: gpu
	$(BIN)/python benchmarks/dense.py --device gpu

reproduce: install
	$(BIN)/python benchmarks/reproduce.py

pretrain: install
	$(BIN)/python -m rankwell.ranker.pretraining

clean:
	rm -rf $(VENV) build dist rankwell-demo
