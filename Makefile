# The only commands a newcomer needs. Everything they need beyond Python ≥ 3.11, git and make they install themselves.
.DEFAULT_GOAL := help
.PHONY: help run test test-all check bench docs web guest

help: ## Show this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: ## Set up what is missing and start the server
	@scripts/setup run
	@scripts/run

test: ## Set up what the tests need and run them
	@scripts/setup test
	@scripts/test -m "not matrix"

test-all: ## The same with the whole matrix of roles and images
	@scripts/setup test
	@scripts/test

check: ## Lint, types, layers, the guest's own tests
	@scripts/setup check
	@scripts/check

bench: ## Measure; BENCH=--write keeps the figures in docs/benchmarks.md
	@scripts/setup test
	@scripts/engine
	@scripts/python -m bench $(BENCH)

docs: ## Write the generated parts of the documentation again
	@scripts/setup check
	@scripts/docs

web: ## Build the page into the package
	@scripts/setup web

guest: ## Build the guest for every architecture
	@scripts/setup check
