# Nothing comes before these: each sets up what it needs.
.PHONY: help rehearse test molecule lint bench lab clean

BIN := .venv/bin
POLICY ?= examples/hostguard.yml

help: ## what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /	/' | expand -t 12

rehearse: ## the example policy on this kernel, in namespaces that vanish: no root, nothing left behind
	@.ci/prepare rehearse
	@.ci/with-tools $(BIN)/hostguard rehearse --policy $(POLICY) --partial-ok

test: ## every test; as root the lab's hosts too
	@.ci/prepare test
	@$(BIN)/python -m pytest $(ARGS)

molecule: ## the roles' scenarios, as root; ARGS="test -s default" for one
	@.ci/prepare test
	@$(BIN)/python -m tests.molecule $(ARGS)

lint: ## formatter, linter, types
	@.ci/prepare test
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: ## the ratios that the README names, measured side by side; ARGS="fleet" for some
	@.ci/prepare bench
	@$(BIN)/python -m tests.bench $(ARGS)

lab: ## a throw-away systemd host: make lab ARGS="up web"
	@.ci/prepare test
	@$(BIN)/python -m tests.lab $(ARGS)

clean: ## what the targets above have made here
	rm -rf .venv .tools .pytest_cache .mypy_cache .ruff_cache .hypothesis
