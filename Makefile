# Needs python3 (3.11 or newer, with venv) and make; everything else goes into .venv.
PY ?= python3
# make bench SIZE=M PEERS=/path/to/python, an interpreter that has HyperSpy, MANTiS, pymcr or pystackreg
SIZE ?= S
# Processes of the tests: one more than processors, as tests of the dashboard wait for their pages much of the time.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# Compiled modules are kept: else each of the many processes of the tests compiles all sources anew.
export PYTHONDONTWRITEBYTECODE :=
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo warm dashboard test lint types docs bench clean

demo: $(STAMP)
	$(BIN)/xstxm warmup
	$(BIN)/xstxm demo --output demo-output

warm: $(STAMP)
	$(BIN)/xstxm warmup --all

dashboard: $(STAMP)
	test -f demo-output/lixv2o5.hdf5 || $(BIN)/xstxm demo --output demo-output
	$(BIN)/xstxm dashboard demo-output/lixv2o5.hdf5 --no-show

test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

docs: $(STAMP)
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

bench: $(STAMP)
	$(BIN)/python benchmarks/bench_table.py --size $(SIZE) $(if $(PEERS),--peers $(PEERS))

clean:
	rm -rf .venv demo-output docs/_build

$(STAMP): pyproject.toml constraints.txt
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "xstxm needs Python 3.11 or newer: make PY=python3.12 ..."; exit 1; }
	@test -x $(BIN)/pip || $(PY) -m venv .venv || { rm -rf .venv; echo "python3 lacks venv: apt-get install python3-venv"; exit 1; }
	@echo "installing into .venv, which takes some minutes and says nothing meanwhile"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	@touch $(STAMP)
