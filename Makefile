# `make` alone lists what can be made. It all works as root on a bare Debian machine that has Go.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

GO       ?= go
VERSION  ?= 0.0.0-dev
BASE_URL ?=
DIST     ?= dist
# The secret key that signs a release, whose password is taken from SIGNING_PASSWORD, and the public half that its programs trust.
SIGNING_KEY ?=
RELEASE_KEY ?= internal/release/release.pub
CACHE    := .cache
FAULTS   ?= 4
GUESTS   ?= 3
export VERSION BASE_URL SIGNING_KEY

# Whatever the builder's own settings are, the same sources give the same bytes.
BUILD_ENV := CGO_ENABLED=0 GOOS=linux GOAMD64=v1 GOARM64=v8.0 GOFLAGS= GOEXPERIMENT=
LDFLAGS    = -s -w -X tljh/internal/version.Version=$(VERSION) -X tljh/internal/version.ReleaseURL=$(BASE_URL:/=) \
	$(if $(filter-out internal/release/release.pub,$(RELEASE_KEY)),-X tljh/internal/version.ReleaseKey=$(shell tail -n 1 "$(RELEASE_KEY)"))
BUILD      = $(BUILD_ENV) GOARCH=$(1) $(GO) build -trimpath -buildvcs=false -mod=readonly -ldflags '$(LDFLAGS)' -o $(2) ./cmd/tljh-install

# The shell files of the tree: those whose first line says so.
SHELL_FILES = find . \( -name .git -o -name .cache -o -name dist -o -name node_modules -o -name artefacts \) -prune -o -type f -size -200k \
	-exec awk 'FNR == 1 { if (/^\#! *\/.*sh$$/) print FILENAME; nextfile }' {} +

# Where there is Python, each with settings and tests of its own.
PYTHON_FOLDERS = hub integration-tests/mirror

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## the binary for this machine, as ./tljh-install
	$(call BUILD,$$($(GO) env GOHOSTARCH),tljh-install)

.PHONY: dist
dist: check-version ## a release in dist/ that takes its address from TLJH_RELEASE_URL, signed only with SIGNING_KEY (VERSION=x.y.z)
	@mkdir -p $(DIST)
	$(call BUILD,amd64,$(DIST)/tljh-install-linux-amd64)
	$(call BUILD,arm64,$(DIST)/tljh-install-linux-arm64)
	@sed -e "s|^STAMPED_VERSION=.*|STAMPED_VERSION='$(VERSION)'|" \
		$(if $(BASE_URL),-e "s|^STAMPED_URL=.*|STAMPED_URL='$(BASE_URL:/=)'|") bootstrap.sh >$(DIST)/bootstrap.sh
	@chmod 0755 $(DIST)/bootstrap.sh
	@rm -f $(DIST)/SHA256SUMS.minisig
	@cd $(DIST) && gzip --force --keep --no-name tljh-install-linux-amd64 tljh-install-linux-arm64 && \
		sha256sum bootstrap.sh tljh-install-linux-* >SHA256SUMS
	@[[ -z "$$SIGNING_KEY" ]] || $(GO) run ./internal/dist/sign -key "$$SIGNING_KEY" -public $(RELEASE_KEY) -version $(VERSION) $(DIST)/SHA256SUMS
	@cd $(DIST) && ls -l bootstrap.sh tljh-install-linux-* SHA256SUMS*

.PHONY: release
release: ## the same with the address it will be published at stamped in, and signed (BASE_URL=https://… VERSION=x.y.z SIGNING_KEY=FILE)
	@[[ "$$BASE_URL" =~ ^https?://[A-Za-z0-9._~:/%+@-]+$$ ]] || { \
		echo "make release needs BASE_URL=https://…, the folder the release will be published in" >&2; exit 2; }
	@[[ "$$VERSION" =~ ^[0-9]+\.[0-9]+\.[0-9]+$$ ]] || { echo "make release needs VERSION=MAJOR.MINOR.PATCH" >&2; exit 2; }
	@[[ -n "$$SIGNING_KEY" ]] || { echo "make release needs SIGNING_KEY=FILE, the secret key that signs it: upgrades take no other (see CONTRIBUTING.md)" >&2; exit 2; }
	@$(MAKE) --no-print-directory dist

.PHONY: check-version
check-version:
	@[[ -z "$$BASE_URL" || "$$BASE_URL" =~ ^https?://[A-Za-z0-9._~:/%+@-]+$$ ]] || { echo "BASE_URL is no web address" >&2; exit 2; }
	@[[ "$$VERSION" =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[a-z0-9.]+)?$$ ]] || { \
		echo "VERSION is MAJOR.MINOR.PATCH, not '$$VERSION'" >&2; exit 2; }

.PHONY: test
test: tools lint test-code test-integration ## lint, unit, Python and integration tests

# Side by side: pytest keeps one core busy, and much of Go's time is compiling.
.PHONY: test-code
test-code: ## Go's tests that need no guest, and pytest
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target test-unit test-python

.PHONY: test-unit
test-unit: ## Go's tests that need no guest
	$(GO) test -timeout 15m ./...

.PHONY: test-python
test-python: ## pytest of hub/ and of the tests' conda mirror, on the CPython and the packages that the hub will have
	venv=$$($(GO) run ./internal/dist/devenv -cache $(CACHE) tests) && \
	export TLJH_USER_ENVIRONMENT=$$($(GO) run ./internal/dist/devenv -cache $(CACHE) user) && \
	for folder in $(PYTHON_FOLDERS); do \
		(cd $$folder && PYTHONDONTWRITEBYTECODE=1 "$$venv/bin/python" -m pytest -q -p no:cacheprovider); done

.PHONY: test-integration
test-integration: tools ## installs into throwaway guests with a real systemd (root)
	TLJH_INTEGRATION=1 $(GO) test -count=1 -timeout 78m -parallel $(GUESTS) ./integration-tests/...
	@head -n 11 integration-tests/artefacts/slowest.txt; tail -n 1 integration-tests/artefacts/faults.txt

.PHONY: test-vm
test-vm: tools ## limits, reboots and power cuts in a machine with a kernel of its own (an hour and a half without KVM)
	TLJH_VM=1 $(GO) test -count=1 -v -timeout 120m ./integration-tests/qemu/...

.PHONY: test-all
test-all: export TLJH_TURNS := all
test-all: tools ## as test-integration, without leaving out those whose turn it is not (three hours)
	TLJH_INTEGRATION=1 $(GO) test -count=1 -timeout 300m -parallel $(GUESTS) ./integration-tests/...

.PHONY: test-faults
test-faults: tools ## kills at every step, and FAULTS rounds of all faults at random moments, into each command (hours)
	TLJH_INTEGRATION=1 TLJH_FAULTS=$(FAULTS) $(GO) test -count=1 -v -timeout 600m -run 'KilledAtEveryStep|TestFaults' ./integration-tests/

.PHONY: try
try: tools dist ## a hub in a throwaway guest, on a port of localhost
	$(GO) run ./integration-tests/cmd/try

.PHONY: bench
bench: tools dist ## an installation against the same downloads by pip, uv and npm alone (BENCH=-strict fails on a missed aim)
	$(GO) run ./integration-tests/cmd/bench $(BENCH)

.PHONY: bench-env
bench-env: tools dist ## user environments by conda and by uv against the bare tools; checks, repairs, rollbacks
	$(GO) run ./integration-tests/cmd/bench-env

.PHONY: bench-config
bench-config: build ## the config's commands on a config of 1,000 users, against a process that does nothing
	$(GO) run ./integration-tests/cmd/bench-config

# Linters of Go have a module of their own, so that the product does not require what they need. Each finds what the others do not:
# staticcheck mistakes, things of old and forms of names and comments; unparam parameters and results that never matter; deadcode
# functions that neither a program nor a test reaches. All of golangci-lint would take minutes to build on a new machine.
LINTER = $(GO) tool -modfile=internal/dist/lint/go.mod

.PHONY: lint
lint: ## gofmt, vet, staticcheck, unparam, deadcode, shellcheck, ruff
	@unformatted=$$("$$($(GO) env GOROOT)/bin/gofmt" -l $$($(GO) list -f '{{.Dir}}' ./...)); \
	[[ -z $$unformatted ]] || { echo "gofmt -w is due on:" $$unformatted >&2; exit 1; }
	$(GO) vet ./...
	$(LINTER) staticcheck -checks all ./...
	$(LINTER) unparam ./...
	@echo "deadcode -test ./..." && dead=$$($(LINTER) deadcode -test ./...) && \
	[[ -z $$dead ]] || { printf '%s\n' "$$dead" >&2; exit 1; }
	$(SHELL_FILES) | xargs -r shellcheck
	@ruff=$$($(GO) run ./internal/dist/devenv -cache $(CACHE) lint) && echo "ruff check" && \
	"$$ruff/bin/ruff" check --no-cache . && "$$ruff/bin/ruff" format --no-cache --check .

.PHONY: lock
lock: ## find the newest packages that fit and pin them by hash
	hub/locks/remake.sh

.PHONY: licences
licences: ## write the tables of docs/licences.md from what the locks install
	$(GO) run ./internal/dist/licences $$(for part in hub user node; do $(GO) run ./internal/dist/devenv -cache $(CACHE) $$part; done)

.PHONY: tools
tools: ## the Debian packages that the tests need
	integration-tests/install-tools

.PHONY: clean
clean: ## what the other targets made, but for the guests' cached system
	rm -rf $(DIST) $(CACHE) tljh-install
