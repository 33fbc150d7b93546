# Every target sets up .venv by itself when it is missing or older than pyproject.toml or constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
CODE := robolearn teleop hardware sim policies launch benchmarks tests

.DEFAULT_GOAL := help
.PHONY: help demo test recipes check format bench interop clean

help:
	@echo "make demo    the main job: human and scripted demonstrations -> policies -> report (about nine minutes)"
	@echo "make test    the tests"
	@echo "make recipes the quick version of every recipe in launch/"
	@echo "make check   format, lint, types and tests: what CI runs"
	@echo "make format  let ruff rewrite the code"
	@echo "make bench   the figures that the docs quote"
	@echo "make interop LeRobot reads what we write and we read what it writes (builds an environment of 2 GB)"
	@echo "make clean   remove .venv"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; found `$(PYTHON) --version`. Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv (a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[sim,metaworld,train,hardware,realsense,lerobot,web,remote,teleop,view,human,export,dev]"
	@touch $@

.venv: $(STAMP)

demo: $(STAMP)
	$(BIN)/robolearn demo $(if $(QUICK),--quick)

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not recipe"

recipes: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m recipe tests/e2e/test_recipes.py

check: $(STAMP)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/pyright
	$(MAKE) test

format: $(STAMP)
	$(BIN)/ruff check --fix-only --quiet $(CODE)
	$(BIN)/ruff format --quiet $(CODE)

bench: $(STAMP)
	$(BIN)/python benchmarks/sim_throughput.py --task all
	$(BIN)/python benchmarks/experts.py --episodes 500
	$(BIN)/python benchmarks/diffusion_step.py
	$(BIN)/python benchmarks/render.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/store_kill.py
	$(BIN)/python benchmarks/windows_vs_lerobot.py
	$(BIN)/python benchmarks/rtde_twin.py
	$(BIN)/python benchmarks/safety_stop.py
	$(BIN)/python benchmarks/pacing.py
	$(BIN)/python benchmarks/policy_server.py
	$(BIN)/python benchmarks/deployed_loop.py --minutes 1
	$(BIN)/python benchmarks/twin_fidelity.py --quick
	$(BIN)/python benchmarks/ur3_monitor.py

interop: $(STAMP)
	$(BIN)/python tests/interop/lerobot_env.py
	$(BIN)/python -m pytest tests/interop

clean:
	rm -rf .venv
