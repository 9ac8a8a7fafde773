# The commands of this repository. `make demo` and `make test` are the two that matter to a newcomer.

CARGO ?= cargo

.PHONY: help demo test check bench soak setup

help:
	@echo "make demo    build headwater and run the embedded example into Delta tables"
	@echo "make test    set up what the tests need, then run every test"
	@echo "make check   formatting, lints, repository rules"
	@echo "make soak    random changes against a model for SOAK_MINUTES (default 30); a failure names the seed that repeats it"
	@echo "make bench   throughput, far sources, changes to large tables and cold start against baselines, and the decoder alone"

demo:
	$(CARGO) build --release --locked
	"$$($(CARGO) metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')/release/headwater" demo

# Other readers of Delta (Python packages, Spark) and a real MediaWiki, in a cache folder outside the clone.
setup:
	testing/setup-readers.sh
	testing/setup-mediawiki.sh

test: setup
	$(CARGO) test --workspace --locked
	$(CARGO) test --workspace --locked --test it -- --ignored --exact scaffold::a_new_connector_in_rust_works
	"$$(testing/setup-python.sh)"/bin/python -m pytest python

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) xtask tidy
	env="$$(testing/setup-python.sh)" && cd python && "$$env"/bin/python -m ruff check . && "$$env"/bin/python -m ruff format --check . && "$$env"/bin/python -m mypy

bench:
	$(CARGO) run --release --locked --package headwater-bench -- w1
	$(CARGO) run --release --locked --package headwater-bench -- w5
	$(CARGO) run --release --locked --package headwater-bench -- python
	$(CARGO) build --release --locked
	$(CARGO) run --release --locked --package headwater-bench -- start
	testing/setup-readers.sh
	$(CARGO) run --release --locked --package headwater-bench -- cdc
	$(CARGO) run --release --locked --package headwater-bench -- decode

SOAK_MINUTES ?= 30
soak: setup
	SOAK_MINUTES=$(SOAK_MINUTES) $(CARGO) test --release --locked --package headwater-lake --test it -- --ignored --exact cdc_model::soak --nocapture
	SOAK_MINUTES=$(SOAK_MINUTES) $(CARGO) test --release --locked --package headwater-lake --test it -- cdc_faults
