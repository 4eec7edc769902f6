# The commands people run. `make demo` and `make test` set everything up themselves: they need Rust, Python >= 3.12 and a
# C compiler, and say so when one is missing.

SHELL := /bin/sh
PY := .venv/bin/python
OUT ?= demo-out
# The same everywhere: other targets or features would build the heavy crates a second time.
CARGO_FLAGS := --all-targets --all-features --locked
export VIRTUAL_ENV :=

.PHONY: help demo test test-rust test-python bench check fmt lint deny directions schemas schemas-check docs links python-lint setup build wheel clean

help:            ## Say what there is.
	@grep -hE '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup:
	@tests/tools/setup.sh

build: setup
	@. tests/tools/tools.sh && $(PY) crates/python/develop.py $(CARGO_FLAGS)

demo: build      ## Build everything, make sample products, build their store, open it, draw a picture.
	@tests/demo/run.sh $(OUT)

test: test-rust test-python ## Run all tests.

test-rust: setup ## Run the Rust tests.
	@. tests/tools/tools.sh && cargo test --workspace $(CARGO_FLAGS)
	cargo test --workspace --all-features --locked --doc

test-python: build ## Run the Python and end-to-end tests.
	$(PY) -m pytest crates/python/tests
	$(PY) -m pytest tests/python

bench: setup     ## Compare speed and memory with other ways, in one run.
	@tests/bench/run.sh

check: fmt lint deny directions schemas-check links python-lint ## Run every check that is not a test.

fmt:             ## Formatting.
	cargo fmt --all --check

lint:            ## clippy without warnings.
	cargo clippy --workspace $(CARGO_FLAGS) -- -D warnings

deny:            ## Licences, sources and banned crates.
	@tests/tools/deny.sh

directions: setup ## Which crate may depend on which.
	$(PY) tests/tools/check_dependencies.py

schemas: setup   ## Write schemas and generated tables of the documentation.
	cargo run --quiet --locked -p s2ice -- schemas schemas --docs docs

schemas-check: setup ## Schemas and tables are those of the code.
	@tests/tools/check_schemas.sh

docs: setup      ## API documentation of the crates.
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

links: setup     ## Links between the Markdown files.
	$(PY) tests/tools/check_links.py

python-lint: setup ## ruff and mypy.
	.venv/bin/ruff check crates/python tests
	.venv/bin/ruff format --check crates/python tests
	cd crates/python && ../../.venv/bin/mypy

wheel: setup     ## The wheel for distribution, optimised.
	. tests/tools/tools.sh && .venv/bin/maturin build --profile dist -m crates/python/Cargo.toml --out target/wheels

clean:
	cargo clean
	rm -rf .venv $(OUT)
