# The two commands of this project are `make demo` and `make test`. Both make the environment that they need.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
DATASET ?= data/shop.yml
BIN := .venv/bin

.PHONY: demo test test-slow test-spark test-spark-logs test-feast bench bench-spark lint clean

demo: .venv/installed
	@$(BIN)/trainer demo --dataset "$(DATASET)"

test: .venv/installed-dev
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Large logs: minutes, several GB of memory and disk.
test-slow: .venv/installed-dev
	@$(BIN)/python -m pytest -m "slow and not spark"

# The same models on Spark, equal in every cell: on the bundled log, and (minutes each) on the real ones.
test-spark: .venv/installed-spark
	@$(BIN)/python -m pytest -m "spark and not slow" tests/spark

test-spark-logs: .venv/installed-spark
	@$(BIN)/python -m pytest -m "spark and slow" tests/spark

# At the sizes of benchmarks/README.md: an hour or two on a quiet machine. Each command stands alone.
bench: .venv/installed-dev
	$(BIN)/python -m benchmarks.feature_layer shapes
	$(BIN)/python -m benchmarks.feature_layer increments
	$(BIN)/python -m benchmarks.feature_layer growth
	$(BIN)/python -m benchmarks.point_in_time compare
	$(BIN)/python -m benchmarks.point_in_time stream
	$(BIN)/python -m benchmarks.online
	$(BIN)/python -m benchmarks.streaming
	$(BIN)/python -m benchmarks.serving
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.training memory
	$(BIN)/python -m benchmarks.quality
	$(BIN)/python -m benchmarks.drift planted
	$(BIN)/python -m benchmarks.drift retail
	$(BIN)/python -m benchmarks.modalities
	$(BIN)/python -m benchmarks.federated
	$(BIN)/python -m benchmarks.privacy
	$(BIN)/python -m benchmarks.report

# Spark at 1M and 10M events: hours, and 40 GB of disk.
bench-spark: .venv/installed-spark
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.report

lint: .venv/installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

clean:
	rm -rf .venv data/build

# constraints.txt is the exact set that the tests ran on; with it, pip takes torch's CPU build.
.venv/installed: pyproject.toml constraints.txt
	@echo "Making the environment in .venv (the first time takes a few minutes)"
	@"$(PYTHON)" -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/installed-dev: .venv/installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

.venv/installed-spark: .venv/installed-dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[spark]"
	@touch $@

# Feast's own tests against our offline store; FEAST_SOURCE says where a checkout of Feast lies.
test-feast:
	@PYTHON="$(PYTHON)" tests/feast_suite/run.sh
