# Every target sets up what it needs: a virtual environment in .venv from locked requirements.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
JOBS ?= 2
# From an index come files of these hashes only, and no source package, whose own build would fetch without any.
LOCKED = $(BIN)/pip install -q --disable-pip-version-check --require-hashes --only-binary :all:
# perfgate itself is built by the locked hatchling: nothing is fetched meanwhile.
OURS = --no-deps --no-build-isolation

.DEFAULT_GOAL := help
.PHONY: help gate plan test test-oldest browser test-transformers lint types check docs docs-serve wheel audit schemas licences lock clean

help:  ## Show this list
	@sed -n 's/^\([a-z-]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 20

gate: $(VENV)/.embedded  ## Run the main job: measure and judge the embedded suite (ARGS="--perfgate-...")
	$(BIN)/pytest perf_tests $(ARGS)

plan: $(VENV)/.embedded  ## List what `make gate` would measure, and how long it would take
	$(BIN)/pytest perf_tests --perfgate-plan $(ARGS)

test: $(VENV)/.dev  ## Run perfgate's own tests, two at once (JOBS=4: four)
	$(BIN)/pytest tests -n $(JOBS) --dist worksteal $(ARGS)

test-oldest: $(VENV)/.dev  ## Run the plugin's tests with the oldest pytest that it works with
	$(LOCKED) --no-deps -r requirements/pytest84.txt
	$(BIN)/pytest tests/test_plugin*.py tests/test_pytest*.py tests/test_settings.py $(ARGS)
	@rm -f $(VENV)/.dev

browser: $(VENV)/.dev  ## Run the tests of report.html in Chromium (on PATH, or named by PERFGATE_CHROMIUM)
	@chrome=$${PERFGATE_CHROMIUM:-$$(command -v chromium || command -v google-chrome)}; \
	test -x "$$chrome" || { echo "no browser: put chromium or google-chrome on PATH, or name one: PERFGATE_CHROMIUM"; exit 1; }; \
	$(LOCKED) -r requirements/browser.txt && PERFGATE_CHROMIUM=$$chrome $(BIN)/pytest tests/report/test_browser.py $(ARGS)

# The one install without hashes, by hand only: which build of torch is the CPU's depends on the index.
test-transformers: $(VENV)/.dev  ## Run the tests of the transformers backend (installs the CPU build of torch 2.13.0)
	$(BIN)/pip install -q torch==2.13.0 'transformers>=5.5,<6' 'torchao==0.18.*' psutil
	$(BIN)/pytest tests/engines tests/test_distill.py -k 'transformers or distill' $(ARGS)

lint: $(VENV)/.dev  ## Check style and layout
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## Check types
	$(BIN)/mypy
	$(BIN)/mypy conftest.py perf_tests benchmarks

# Never with --quiet: what it hides, strict does not count.
docs: $(VENV)/.dev  ## Build the site of docs/ into build/site; dead links and anchors are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

docs-serve: $(VENV)/.dev  ## Show the site on http://127.0.0.1:8000 and build it anew at every change
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

check: lint types docs test  ## Everything that CI checks

wheel: $(VENV)/.dev  ## Build the installable plugin into dist/, byte for byte the same from the same commit
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/pip wheel -q $(OURS) -w dist .

audit: | $(BIN)/python  ## Look the locked packages up among known vulnerabilities (needs the network)
	$(LOCKED) -r requirements/audit.txt
	@status=0; for lock in requirements/*.txt; do \
	  echo "$$lock"; $(BIN)/pip-audit --strict --disable-pip --require-hashes -r $$lock || status=1; done; exit $$status

schemas: $(VENV)/.embedded  ## Write docs/schema
	mkdir -p docs/schema
	for kind in suite run comparison baseline tradeoffs advice tuning; do \
	  $(BIN)/perfgate schema $$kind > docs/schema/$$kind.schema.json || exit 1; done

licences: $(VENV)/.dev  ## Write docs/licences.md
	$(LOCKED) -r requirements/audit.txt -r requirements/publish.txt -r requirements/browser.txt
	$(BIN)/python scripts/licences.py > docs/licences.md

lock:  ## Renew the locked requirements (needs uv)
	uv pip compile -q pyproject.toml --extra embedded --extra nvidia --universal --generate-hashes --no-annotate \
	  --no-emit-index-url --custom-compile-command "make lock" -o requirements/embedded.txt
	uv pip compile -q pyproject.toml --extra embedded --extra nvidia --extra dev --universal --generate-hashes \
	  --no-annotate --no-emit-index-url --custom-compile-command "make lock" -o requirements/dev.txt
	uv pip compile -q pyproject.toml --extra browser -c requirements/dev.txt --universal --generate-hashes \
	  --no-annotate --no-emit-index-url --custom-compile-command "make lock" -o requirements/browser.txt
	for group in build audit publish; do \
	  uv pip compile -q --group $$group -c requirements/dev.txt --universal --python-version 3.11 --generate-hashes \
	    --no-annotate --no-emit-index-url --custom-compile-command "make lock" -o requirements/$$group.txt || exit 1; done

clean:  ## Remove engines, local baselines and reports; keep .venv
	rm -rf .perfgate perfgate-out dist

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "perfgate needs Python 3.11 or newer; found $$($(PYTHON) --version). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.embedded: requirements/build.txt requirements/embedded.txt pyproject.toml | $(BIN)/python
	$(LOCKED) -r requirements/build.txt -r requirements/embedded.txt
	$(BIN)/pip install -q --disable-pip-version-check $(OURS) -e .
	@touch $@

$(VENV)/.dev: requirements/build.txt requirements/dev.txt pyproject.toml | $(BIN)/python
	$(LOCKED) -r requirements/build.txt -r requirements/dev.txt
	$(BIN)/pip install -q --disable-pip-version-check $(OURS) -e .
	@touch $@ $(VENV)/.embedded
