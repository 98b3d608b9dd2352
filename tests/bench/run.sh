#!/usr/bin/env bash
# `make bench`: the router in a release build, beside nginx in front of a unix socket and mcp-proxy on the same echo, in one run.
# Figures of one machine say little; the ratios of one run say more. Nothing else should run meanwhile.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly mcp_proxy_version=0.6.0
: "${CARGO_TARGET_DIR:=target}"
export CARGO_TARGET_DIR

say() { printf 'bench: %s\n' "$*"; }

if ! command -v nginx >/dev/null && [[ ! -x /usr/sbin/nginx ]]; then
  say 'installing nginx-light'
  as_root=()
  ((EUID == 0)) || as_root=(sudo)
  "${as_root[@]}" apt-get -qq update
  # It is only ever started by the bench, with a configuration of its own: its service is not wanted.
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq install --no-install-recommends -y nginx-light >/dev/null
fi

if [[ ! -x .tools/bin/mcp-proxy ]] || ! .tools/bin/mcp-proxy --version | grep -qF "$mcp_proxy_version"; then
  say "building mcp-proxy $mcp_proxy_version"
  env CARGO_TARGET_DIR="$PWD/.tools/build" cargo install --quiet --locked --force --root .tools "mcp-proxy@$mcp_proxy_version"
  rm -rf .tools/build
fi

say 'building the router as it is released'
cargo build --quiet --release --bins -p godot-mcp-router -p godot-mcp-shim -p router-tests
cargo build --quiet --release -p router-engine --example policy_cost

"$CARGO_TARGET_DIR/release/router-bench" "$@"
say 'what a policy costs'
"$CARGO_TARGET_DIR/release/examples/policy_cost"
