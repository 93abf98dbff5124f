# Coffer: `make run` builds it and runs a program in a sandbox; `make test`
# passes its tests, installing what they need.

export CGO_ENABLED = 0
GO ?= go
# A number of inputs rather than a time: a time-out that strikes in the middle of
# one is reported as a failure by go test.
FUZZTIME ?= 20000x
# How long processes storm a kernel that watches for races, on each platform.
STORM ?= 15s

.PHONY: build run test unit race fuzz guest deps docs bench bench-quick bench-deps conformance e2e clean

# A file that the linker has written lies in the page cache page by page, until it is read
# from the disk: a start takes a fifth longer than of its copy, which lies there in pieces.
build:
	$(GO) build -trimpath -ldflags='-s -w' -o bin/coffer ./cmd/coffer
	@cp bin/coffer bin/coffer.copy && mv -f bin/coffer.copy bin/coffer

# A shell when there is somebody to use it, a short demonstration otherwise.
run: build
	@scripts/demo bin/coffer

test: deps build unit race guest

deps:
	@scripts/test-deps
	@scripts/cni-deps

unit:
	$(GO) vet ./...
	@scripts/gotest -count=1 ./bench/... ./cmd/... ./internal/...

# The race detector needs cgo, with which a process cannot give up privileges
# for all its threads, as boot does. It has each process sleep a second in the
# end, of which tests run hundreds.
race:
	@CGO_ENABLED=1 GORACE=atexit_sleep_ms=0 STORM=$(STORM) scripts/gotest -count=1 -race -short $$($(GO) list ./internal/... | grep -v /boot)

# Looks for inputs that break something, at random: so it is no part of make test, which
# tries those that have been found before (testdata/fuzz, internal/tools/fuzzcorpus).
fuzz:
	@FUZZTIME=$(FUZZTIME) scripts/fuzz

# Small C programs and real ones, natively first, then on every platform. One
# package at a time: each looks whether anything of Coffer's is left on the host.
guest: build
	@scripts/gotest -count=1 -p 1 -timeout 60m ./test/...

docs:
	$(GO) run ./internal/tools/syscalldoc > docs/syscalls.md
	$(GO) run ./internal/tools/hostcalldoc > docs/hostcalls.md
	$(GO) run ./internal/tools/specdoc > docs/kernel-wall-spec.md

# What the walls cost, beside the host itself and other runtimes: docs/performance.md.
# More by hand: go run ./bench --help.
bench: bench-deps build
	$(GO) run ./bench --json bin/bench.json --svg bin/bench.svg

bench-quick: bench-deps build
	$(GO) run ./bench --quick

bench-deps:
	@scripts/bench-deps

# The validation suite of opencontainers/runtime-tools against both walls, runc and
# crun, or against RUNTIME: docs/conformance.md. CONFORMANCE is for more flags.
conformance: build
	@scripts/conformance-deps
	@scripts/conformance $(CONFORMANCE)

# Both walls behind containerd, Docker and Podman, which are installed, started
# and stopped; or COFFER_E2E_RUNTIMES="/usr/sbin/runc ..." instead of the walls.
e2e: build
	@scripts/e2e-deps
	@scripts/cni-deps
	@COFFER_E2E=full scripts/gotest -count=1 -timeout 60m ./test/e2e

clean:
	rm -rf bin
