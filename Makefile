# Two commands matter: `make run` and `make test`. Both make their own environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# uv where there is one: the same packages by the same hashes, in seconds instead of minutes
INSTALL := $(if $(shell uv --version 2>/dev/null),uv pip install --python $(BIN)/python --compile-bytecode,\
	$(BIN)/pip install --disable-pip-version-check) --quiet --require-hashes --only-binary :all:

# Tests start hundreds of processes. Each finds its modules compiled, whatever the shell says, and keeps its memory on huge
# pages: on some virtual machines an import takes half as long for it.
unexport PYTHONDONTWRITEBYTECODE
test torture lint: export PYTHONMALLOC := malloc
test torture lint: export GLIBC_TUNABLES := glibc.malloc.hugetlb=1

.PHONY: run demo test torture lint check bench freqtrade freqtrade-strategies lock sbom docs vendor clean
.DEFAULT_GOAL := run

$(VENV)/.runtime: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Revenant needs Python 3.11 to 3.13: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked requirements, once: about half a minute"
	$(INSTALL) -r requirements.txt
	touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	@echo "installing what the tests need, once"
	$(INSTALL) -r requirements-dev.txt
	touch $@

run: $(VENV)/.runtime
	$(BIN)/python live_bot.py

# a minute that shows what it is for: it trades, is killed, and comes back with its books whole
demo: $(VENV)/.runtime
	$(BIN)/python manage.py demo

# two at once: a third bot would take from the others what they need to follow their markets on a slow machine; those that
# judge how long something took, those that look at the page with a browser, and the proof in small run by themselves.
# WITHOUT=proof leaves that out, where make torture follows
test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not alone and not proof" --durations 40
	$(BIN)/python -m pytest -m "(alone or proof) $(if $(WITHOUT),and not $(WITHOUT))" $$(grep -rlE 'mark\.(alone|proof)' tests --include='test_*.py')

# everything that can die, dies; QUICK=1 takes minutes, the full set hours; ONLY="kills storm" runs parts of it; UNTIL
# (seconds since 1970) begins no part after that time
torture: $(VENV)/.dev
	$(BIN)/python -m tests.torture $(if $(QUICK),--quick) $(if $(UNTIL),--until $(UNTIL)) $(ONLY)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

# ONLY="upsert gaps" measures those; the other backtesters are installed beside the project when they are measured
bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks $(ONLY)

# freqtrade trades live on the practice exchange for some minutes; it is installed outside the project on first use
freqtrade: $(VENV)/.dev
	$(BIN)/python -m tests.foreign.freqtrade_live

# strategies written for freqtrade, traded by freqtrade and by us on the candles beside the project; the table goes into
# docs/freqtrade.md
freqtrade-strategies: $(VENV)/.dev
	$(BIN)/python -m tests.foreign.freqtrade_strategies $(ONLY)

lock:
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml -o requirements.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --group scale pyproject.toml -o requirements-scale.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --group dev pyproject.toml -o requirements-dev.txt

# what the image is made of, for those who look packages up in lists of known faults
sbom: $(VENV)/.dev
	$(BIN)/python -m tests.sbom requirements-scale.txt > sbom.cdx.json

# the documents that are made of the program
docs: $(VENV)/.dev
	$(BIN)/python -m tests.documents

# the page's libraries, as npm has them; SHA256SUMS says what they have to be
VENDOR := dashboard/page/vendor
vendor:
	rm -rf .vendor && mkdir .vendor
	cd .vendor && npm pack --silent htm@3.1.1 lightweight-charts@5.2.1 && for one in *.tgz; do tar xzf $$one --one-top-level; done
	cp .vendor/htm-3.1.1/package/preact/standalone.module.js $(VENDOR)/preact.js
	cp .vendor/lightweight-charts-5.2.1/package/dist/lightweight-charts.standalone.production.mjs $(VENDOR)/lightweight-charts.js
	cp .vendor/htm-3.1.1/package/LICENSE $(VENDOR)/htm.LICENSE
	cp .vendor/lightweight-charts-5.2.1/package/LICENSE $(VENDOR)/lightweight-charts.LICENSE
	rm -rf .vendor
	cd $(VENDOR) && sha256sum -c SHA256SUMS

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .rivals
