# What a newcomer, a developer and CI call. `make run` needs only rustup, gcc and make; `make test` installs what else it needs.
.DEFAULT_GOAL := help
.PHONY: help run test setup toolchain build plugins fmt lint deny tests bench

CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR
GUESTS := $(CARGO_TARGET_DIR)/wasm32-wasip2/plugin
CARGO_DENY := .tools/bin/cargo-deny
CONFIG ?= config/router.toml

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1 \t/p' Makefile | expand -t 20

run: build ## build what the router needs and start it on config/router.toml (CONFIG=… for another)
	exec $(CARGO_TARGET_DIR)/debug/godot-mcp-router serve --config $(CONFIG)

test: setup ## everything that has to hold: fmt, lint, deny, then every test
	$(MAKE) fmt lint deny
	$(MAKE) tests
	@echo "make test: everything passed"

setup: toolchain ## what the tests need: system packages, pinned npm and PyPI packages, cargo-deny
	tests/setup.sh

toolchain: # the pinned toolchain with its guest target, also where rustup is told not to install by itself
	@rustup show active-toolchain >/dev/null 2>&1 || rustup toolchain install
	@rustup target list --installed | grep -qx wasm32-wasip2 || rustup target add wasm32-wasip2

build: toolchain plugins # the router, its shim and the bundled instance, in the profile that the tests use too
	cargo build -p godot-mcp-router -p godot-mcp-shim -p router-godot --bins

# The router watches plugins/dist: a guest arrives there whole, by a rename, and only when it differs.
plugins: toolchain ## the bundled plugins into plugins/dist, the guests of the tests into target/guests
	cargo build --profile plugin --target wasm32-wasip2 -p default-health -p hostile-health -p echo-guest
	@mkdir -p plugins/dist $(CARGO_TARGET_DIR)/guests
	@set -e; place() { cmp -s "$$1" "$$2" || { cp "$$1" "$$2.part" && mv "$$2.part" "$$2" && echo "placed $$2"; }; }; \
	place $(GUESTS)/default_health.wasm plugins/dist/default-health.wasm; \
	place $(GUESTS)/hostile_health.wasm $(CARGO_TARGET_DIR)/guests/hostile-health.wasm; \
	place $(GUESTS)/echo_guest.wasm $(CARGO_TARGET_DIR)/guests/echo.wasm

fmt: ## is the code formatted?
	cargo fmt --all --check

lint: ## clippy over everything, warnings are errors
	cargo clippy --workspace --all-targets -- -D warnings

# cargo-deny downloads nothing, and looks also at what only other systems need.
deny: ## licences, bans and sources of every dependency (advisories: make deny ADVISORIES=advisories, with their database at hand)
	cargo fetch --locked --quiet
	$(CARGO_DENY) --offline check $(ADVISORIES) bans licenses sources

# Everything is built once, with the features that the tests have: one compilation of each dependency.
tests: plugins ## units, properties, the simulation, each room against real processes and databases, and whole routers
	cargo build --workspace --all-targets
	cargo test --workspace --no-fail-fast

bench: setup plugins ## requests per second, latency, policy cost and memory beside the peers, in a release build
	tests/bench/run.sh
