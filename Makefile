# Nothing comes before these: each sets up what it needs.
.PHONY: help rehearse faults check test times steady crash molecule wheel docs lint lock bench lab clean

BIN := .venv/bin
POLICY ?= examples/hostguard.yml
# -n0 in ARGS runs them one after the other, for a debugger.
SIDE_BY_SIDE := -n auto --dist loadgroup --no-loadscope-reorder

help: ## what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /	/' | expand -t 12

rehearse: ## the example policy on this kernel, in namespaces that vanish: no root, nothing left behind
	@.ci/prepare rehearse
	@.ci/with-tools $(BIN)/hostguard rehearse --policy $(POLICY) --partial-ok

# The proxy itself, of the wheel that brings it: the command in .venv/bin is a Python program that becomes it.
faults: POLICY = examples/gateway.yml
faults: ## every fault of a provider at once, with the gateway and without, no root; ARGS="--fast" for half the time
	@.ci/prepare faults
	@.ci/with-tools $(BIN)/hostguard rehearse --faults --policy $(POLICY) --partial-ok \
		--program $(BIN)/../lib/python3*/site-packages/envoy/_bin/envoy $(ARGS)

check: ## while you edit, no root: linters, types, unit and architecture tests, packets in namespaces
	@.ci/prepare check
	@$(MAKE) --no-print-directory lint
	@.ci/with-tools $(BIN)/python -m pytest $(SIDE_BY_SIDE) tests/unit tests/architecture tests/packets $(ARGS)
	@echo "left out: what needs a lab host, a virtual machine, ansible or a server of its own (make test, as root)"

test: ## every test; as root the lab's hosts too
	@.ci/prepare test
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

times: ## where the time of the last test run went
	@$(BIN)/python -m tests.times

steady: ## the whole suite five times, twice with every core kept busy, and a table of what failed
	@.ci/prepare test
	@$(BIN)/python -m tests.steady $(ARGS)

crash: ## one fault at every point of every change, as root, for hours; ARGS="--each-once --jobs 2" or "--sample 100" for less
	@.ci/prepare test
	@$(BIN)/python -m tests.crash $(ARGS)

molecule: ## the roles' scenarios, as root; ARGS="test -s default" for one
	@.ci/prepare test
	@$(BIN)/python -m tests.molecule $(ARGS)

wheel: ## dist/: the wheel, and a requirements.txt that pins it and all that it needs by hash
	@.ci/prepare wheel
	@.ci/wheel dist

# What is measured (docs/figures.md) and what a person ran for hours (docs/reliability.md) is not written anew.
GENERATORS := hostguard.catalogue.page hostguard.attack.page hostguard.diagnose.page hostguard.ansible.role_docs hostguard.cli.manual tests.pages
docs: ## every page, role and table that is written from the code; ARGS=--check writes nothing and names what is stale
	@.ci/prepare check
	@code=0; for each in $(GENERATORS); do $(BIN)/python -m $$each $(ARGS) || code=$$?; done; exit $$code

lint: ## formatter, linters of Python, Ansible and shell, types
	@.ci/prepare check
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m tests.lint $(LINTERS)

lock: ## pin the development environment's packages anew, with hashes
	@.ci/lock

bench: ## the ratios of docs/figures.md, measured side by side; ARGS="fleet" for some
	@.ci/prepare bench
	@$(BIN)/python -m tests.bench $(ARGS)

lab: ## a throw-away systemd host: make lab ARGS="up web"
	@.ci/prepare test
	@$(BIN)/python -m tests.lab $(ARGS)

clean: ## what the targets above have made here
	rm -rf .venv .tools .steady .pytest_cache .mypy_cache .ruff_cache .hypothesis
