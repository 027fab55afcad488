# Every target sets up what it needs: .venv from requirements.lock, and the downloads in ~/.cache/imex.
# The first Python that works and is new enough; 3.11 first, for which the lock file was made.
PYTHON ?= $(or $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; \
	done), python3)
RUN = @$(PYTHON) deploy/local/main.py

.DEFAULT_GOAL := help
.PHONY: help demo test check up down reset bench faults fuzz interop schemas schemas-check

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## a CT study from hospital A to hospital B on real parts, with its timeline
	$(RUN) $@
test: ## run all tests
	$(RUN) $@
check: ## lint, types, import rules, schemas, unit tests
	$(RUN) $@
up: ## start the stack in the background and wait until it is ready
	$(RUN) $@
down: ## stop the stack, keeping its data
	$(RUN) $@
reset: ## stop the stack and delete its data
	$(RUN) $@
bench: ## benchmarks beside the peers that are installed, one table
	$(RUN) $@
faults: ## the long fault matrix, one table
	$(RUN) $@
interop: ## Imex beside other DICOM implementations, in both directions; writes the table in docs/
	$(RUN) $@
fuzz: ## the parsers of what strangers send, a minute of coverage-guided inputs each
	$(RUN) $@
schemas: ## render the event contracts into schemas/
	$(RUN) $@
schemas-check: ## fail where schemas/ has drifted or a change breaks a released contract
	$(RUN) $@
