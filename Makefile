# Nothing but Go and Debian's packages is needed; "make demo" installs the rest.

MODULE  := github.com/bulkexport/bulkexport
MODULES := $(patsubst %/,%,$(dir $(wildcard go.mod */go.mod */*/go.mod)))
BIN     := $(CURDIR)/.data/bin
RESULTS := $(CURDIR)/.data/test

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# Go fails where git does not trust the checkout, as under sudo: build without
# the commit's name there.
ifeq ($(shell git rev-parse HEAD 2>/dev/null),)
export GOFLAGS += -buildvcs=false
endif

# All but the tests, whose race detector needs C, is built alike, and so once.
export CGO_ENABLED := 0

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## the programs and the development stack, in .data/bin
	go build -trimpath -o $(BIN)/ ./cmd/...
	go build -C deploy/devstack -trimpath -o $(BIN)/ ./...

.PHONY: demo
demo: build ## run one export on a whole stack, from the request to the checked file
	$(BIN)/devstack demo $(ARGS)

.PHONY: up
up: build ## the same stack, staying until Ctrl-C; .data/stack.env points clients at it
	$(BIN)/devstack up $(ARGS)

.PHONY: test
test: build tools ## every test, on real components, the service's with the race detector; flags: ARGS='-run TestX'
	rm -rf $(RESULTS) && mkdir -p $(RESULTS)
	$(BIN)/devstack exec -- env CGO_ENABLED=1 $(call gotest,root) -race $(ARGS) ./...
	cd deploy/devstack && CGO_ENABLED=0 $(call gotest,devstack) -trimpath $(ARGS) ./...
	cd deploy/check && $(call gotest,check) -trimpath $(ARGS) ./...
	cd tools && $(call gotest,tools) -trimpath $(ARGS) ./...
	$(BIN)/tally $(RESULTS)/*.json

.PHONY: check-image
check-image: build ## what the Dockerfile says, without an engine: build, then run as nobody on a read-only tree; root
	$(BIN)/devstack exec -- go test -C deploy/check -count=1 -v -tags image -run '^TestImage$$' ./...

.PHONY: bench-source
bench-source: build ## what an export does to others on the platform's database; pgbench, some 10 minutes
	$(BIN)/devstack exec -- deploy/pgbench/foreground.sh

# The stack is there for development alone: its tests share what "make build"
# has compiled instead of compiling an S3 server once more for the detector.
gotest = $(BIN)/gotestsum --jsonfile-timing-events=$(RESULTS)/$(1).json -- -timeout 25m

.PHONY: bench
bench: build ## measure an export against psql, gzip and the floor, on an idle machine; flags: ARGS='-size 64MB -runs 3'
	go build -trimpath -o $(BIN)/ ./internal/bench
	$(BIN)/devstack exec -- $(BIN)/bench $(ARGS)

# One after the other, each on one core, beside whatever else runs.
FUZZTIME := 10m
.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (10m)
	grep -rno '^func Fuzz[A-Za-z]*' --include='*_test.go' internal | while IFS=: read -r file _ func; do \
		nice go test -run '^$$' -fuzz "^$${func#func }\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 2s -parallel 1 ./$$(dirname $$file); done

SEEDS := 20000
SEED  := 0
.PHONY: sim
sim: ## simulate SEEDS (20000) worlds of workers, faults and lost answers; one of them, told: SEED=44
	if test $(SEED) = 0; then go test -count=1 -timeout 12h -v -run '^TestSeeds$$' ./internal/sim -args -seeds $(SEEDS); \
	else go test -count=1 -v -run '^TestSeed$$' ./internal/sim -args -seed $(SEED); fi

# FULL=1: 100 kills at the lease of a test, 100 at production's, each call.
FULL :=
faults = $(BIN)/devstack exec -- env CGO_ENABLED=0 go test -count=1 -v -tags faultpoints -timeout 3h -run '^TestFaults$$$(1)' ./internal/e2e
.PHONY: faults
faults: build ## kill, freeze and cut off the real programs, and check every row; all of it, in an hour: FULL=1
ifeq ($(FULL),)
	$(call faults) -parallel 3 -args -kills 20 -every 10 $(ARGS)
else
	$(call faults) -parallel 1 -args -kills 100 -every 1 $(ARGS)
	$(call faults,/^kills$$) -args -kills 100 -lease 15s $(ARGS)
endif

.PHONY: machines
machines: build ## 1, 2 and 4 workers on machines of their own, one cut off, all restarted under load; root, else one network
	$(BIN)/devstack exec -- env CGO_ENABLED=0 go test -count=1 -v -tags faultpoints -timeout 10m -run '^TestMachines$$' ./internal/e2e -args $(ARGS)

.PHONY: upgrade
upgrade: build ## the programs of an older schema beside today's; a restore; needs git's history and pg_dump
	$(BIN)/devstack exec -- env CGO_ENABLED=0 go test -count=1 -v -tags faultpoints -timeout 10m -run '^(TestUpgrade|TestNewerSchema|TestRestore)$$' ./internal/e2e -args $(ARGS)

.PHONY: scale
scale: build ## how the number of projects tells: 10, 1,000 and 100,000 of them
	$(BIN)/devstack exec -- env CGO_ENABLED=0 go test -count=1 -v -tags faultpoints -timeout 10m -run '^TestScale$$' ./internal/e2e -args $(ARGS)

.PHONY: flood
flood: build ## 10,000 small exports of 50 projects, half of them of one: who waits how long
	$(BIN)/devstack exec -- env CGO_ENABLED=0 go test -count=1 -v -tags faultpoints -timeout 3h -run '^TestFlood$$' ./internal/e2e -args -flood 10000 $(ARGS)

.PHONY: bench-polls
bench-polls: build ## 200 status polls a second beside an export of 1 GB: how long they wait, how much it slows
	$(BIN)/devstack exec -- env CGO_ENABLED=0 go test -count=1 -v -tags faultpoints -timeout 1h -run '^TestPolls$$' ./internal/e2e -args $(ARGS)

.PHONY: mutants
mutants: build tools ## take one protection out at a time and show that a test notices; one of them: ARGS=no-part-gap
	$(BIN)/devstack exec -- $(BIN)/mutants $(ARGS)

.PHONY: check
check: format lint modules ## formatting, linters, go.mod in step with the code, modules as published

.PHONY: format
format: tools
	files=$$($(goimports) -l $(gofiles)); test -z "$$files" || \
		{ echo "not formatted, run make fmt:"; echo "$$files"; exit 1; } >&2

.PHONY: lint
lint: tools
	failed=; for m in $(MODULES); do go vet -C $$m -trimpath -vettool=$(BIN)/lint ./... || failed=1; done; test -z "$$failed"

.PHONY: modules
modules:
	for m in $(MODULES); do go mod tidy -C $$m -diff; go mod verify -C $$m; done

.PHONY: fmt
fmt: tools ## format all Go files and group their imports
	$(goimports) -w $(gofiles)

goimports = $(BIN)/goimports -local $(MODULE)
gofiles   = $$(find . -name '*.go' -not -path './.*')

# The commit's name is left out of these: go vet keeps its results for as long
# as the linter stays the same, byte for byte.
.PHONY: tools
tools:
	go build -C tools -trimpath -buildvcs=false -o $(BIN)/ tool

.PHONY: clean
clean: ## remove what was built, the tests' results and the stack's data
	rm -rf .data
