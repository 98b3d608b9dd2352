#!/usr/bin/env bash
# Throughput and latency through the router beside its peers, in one run on one machine: the same stdio echo server behind the router
# and behind mcp-proxy, and nginx in front of a unix socket as the bound that no JSON is looked at. Then what 100 breakers of tools cost a
# request, how soon the plan of a breaker policy that was swapped is in force, what a policy, an alert rule, a step of the core and a change
# of a route cost, how soon a page is at its sink and what a delivery costs on SQLite and Postgres, what it takes to ask a rule about 1,000
# instances every ten seconds, and what a router with 1, 20 and 100 instances, and with 0, 10 and 30 policies more, takes of memory. Prints
# medians of ROUNDS rounds, and ratios; says of each target whether it was met, and fails when one was not.
#
# ROUNDS=3 SECONDS_EACH=5 tests/bench/run.sh [PART …]
#
# Of a folder of programs, whatever profile they are built in: PROGRAMS=target/debug tests/bench/run.sh plans policy_memory
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly rounds=${ROUNDS:-3}
readonly seconds=${SECONDS_EACH:-5}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
readonly target
programs=$(realpath -m "${PROGRAMS:-$target/release}")
readonly programs
readonly mcp_proxy_version=0.6.0
readonly tools=$PWD/.tools
work=$(mktemp -d)
readonly work
started=()

misses=0

say() { printf 'bench: %s\n' "$*"; }
die() { printf 'bench: %s\n' "$*" >&2; exit 1; }

# Whether a figure is what it is to be: what, the figure, <= or >=, the bound.
judge() {
  local verdict
  verdict=$(awk -v f="$2" -v b="$4" -v how="$3" 'BEGIN { print (f != "" && (how == "<=" ? f + 0 <= b : f + 0 >= b)) ? "PASS" : "MISS" }')
  [[ $verdict == PASS ]] || misses=$((misses + 1))
  printf '%s  %s: %s, to be %s %s\n' "$verdict" "$1" "${2:-none}" "$3" "$4"
}

finish() {
  local pid
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

packages() {
  local missing=()
  command -v wrk >/dev/null || missing+=(wrk)
  command -v nginx >/dev/null || missing+=(nginx-light)
  ((${#missing[@]})) || return 0
  local as_root=()
  ((EUID == 0)) || as_root=(sudo)
  say "installing ${missing[*]}"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y "${missing[@]}" >/dev/null
}

build() {
  [[ -z ${PROGRAMS:-} ]] || { say "measuring $programs"; return 0; }
  say 'building in release'
  # At once: one set of features, and so one compilation of each dependency.
  cargo build --quiet --release --workspace --bins --example policy_cost --example rule_cost --example step_cost --example hot_path
}

# Waits until an address answers anything at all.
await() {
  local url=$1 i
  for ((i = 0; i < 200; i++)); do
    curl -s -o /dev/null "$url" && return 0
    sleep 0.05
  done
  die "$url does not answer"
}

start_router() {
  cat >"$work/router.toml" <<TOML
[server]
listen = "127.0.0.1:0"
data_dir = "$work/data"
[storage]
url = "sqlite://$work/data/router.db"
[logging]
dir = "$work/logs"
[instances]
socket_dir = "$work"
[template.echo]
command = "$programs/echo-server"
on_router_exit = "stop"
[[instance]]
id = "echo"
template = "echo"
autostart = true
[plugins]
dir = "$PWD/plugins/dist"
TOML
  "$programs/godot-mcp-router" serve --config "$work/router.toml" >"$work/router.out" 2>&1 &
  started+=($!)
  router_pid=$!
  local i
  for ((i = 0; i < 200; i++)); do [[ -s $work/data/listen ]] && break; sleep 0.05; done
  router_url=http://$(<"$work/data/listen")/mcp/echo
}

start_mcp_proxy() {
  # It does not tell its version: cargo's record of what it installed does, and then this builds nothing.
  say "mcp-proxy $mcp_proxy_version"
  cargo install --quiet --locked --root "$tools" --version "=$mcp_proxy_version" mcp-proxy
  cat >"$work/proxy.toml" <<TOML
[proxy]
name = "bench"
separator = "/"
[proxy.listen]
host = "127.0.0.1"
port = 18080
[[backends]]
name = "echo"
transport = "stdio"
command = "$programs/echo-server"
TOML
  "$tools/bin/mcp-proxy" --config "$work/proxy.toml" >"$work/proxy.out" 2>&1 &
  started+=($!)
  proxy_url=http://127.0.0.1:18080/
  await "$proxy_url"
}

# One nginx answers on a unix socket, the other passes on to it.
start_nginx() {
  cat >"$work/nginx.conf" <<CONF
daemon off; pid $work/nginx.pid; error_log $work/nginx.err; worker_processes 1;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 100000000; client_body_temp_path $work; proxy_temp_path $work;
  fastcgi_temp_path $work; uwsgi_temp_path $work; scgi_temp_path $work;
  upstream answer { server unix:$work/answer.sock; keepalive 128; keepalive_requests 100000000; }
  server { listen unix:$work/answer.sock; location / { default_type application/json;
    return 200 '{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"hello"}]}}'; } }
  server { listen 127.0.0.1:18081; location / { proxy_pass http://answer; proxy_http_version 1.1; proxy_set_header Connection ""; } }
}
CONF
  nginx -c "$work/nginx.conf" -p "$work" &
  started+=($!)
  nginx_url=http://127.0.0.1:18081/
  await "$nginx_url"
}

# Opens a session and leaves a wrk script that calls a tool in it.
script_for() {
  local name=$1 url=$2 tool=$3 session
  session=$(curl -s -D - -o /dev/null "$url" -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \
    -d '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}' |
    tr -d '\r' | awk 'tolower($1) == "mcp-session-id:" { print $2 }')
  curl -s -o /dev/null "$url" -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \
    -H "Mcp-Session-Id: $session" -H 'MCP-Protocol-Version: 2025-06-18' -d '{"jsonrpc":"2.0","method":"notifications/initialized"}' || true
  cat >"$work/$name.lua" <<LUA
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Accept"] = "application/json, text/event-stream"
wrk.headers["Mcp-Session-Id"] = "$session"
wrk.headers["MCP-Protocol-Version"] = "2025-06-18"
wrk.body = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"$tool","arguments":{"text":"hello"}}}'
wrong = 0
local threads = {}
function setup(thread) table.insert(threads, thread) end
function response(status, headers, body)
  if status ~= 200 or not body:find('"result"', 1, true) then wrong = wrong + 1 end
end
function done(summary, latency, requests)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  for _, thread in ipairs(threads) do failed = failed + thread:get("wrong") end
  io.write(string.format("RESULT %f %f %f %d\n", summary.requests / summary.duration * 1e6,
    latency:percentile(50), latency:percentile(99), failed))
end
LUA
}

# req/s, p50 µs, p99 µs, failures of one round.
measure() {
  local name=$1 url=$2 connections=$3
  wrk -t1 -c"$connections" -d"${seconds}s" -s "$work/$name.lua" "$url" | awk '/^RESULT/ { print $2, $3, $4, $5 }'
}

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f\n", a / b }'; }

median() { sort -g | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'; }

compare() {
  local connections name url round line
  start_mcp_proxy
  start_nginx
  script_for nginx "$nginx_url" echo
  script_for mcp-proxy "$proxy_url" echo/echo
  printf '\n%-12s %11s %12s %10s %10s %8s\n' connections who req/s p50_us p99_us failed
  for connections in 1 8 32 128; do
    : >"$work/rounds"
    for ((round = 0; round < rounds; round++)); do
      for name in nginx router mcp-proxy; do
        case $name in nginx) url=$nginx_url ;; router) url=$router_url ;; *) url=$proxy_url ;; esac
        line=$(measure "$name" "$url" "$connections")
        echo "$name $line" >>"$work/rounds"
      done
    done
    for name in nginx router mcp-proxy; do
      local column figures=()
      for column in 2 3 4; do
        figures+=("$(awk -v n="$name" -v c="$column" '$1 == n { print $c }' "$work/rounds" | median)")
      done
      figures+=("$(awk -v n="$name" '$1 == n { failed += $5 } END { print failed + 0 }' "$work/rounds")")
      printf '%-12s %11s %12.0f %10.0f %10.0f %8.0f\n' "$connections" "$name" "${figures[@]}"
      printf -v "rate_${name//-/_}" '%s' "${figures[0]}"
      printf -v "p50_${name//-/_}" '%s' "${figures[1]}"
      [[ $name != router ]] || judge "answers of the router at $connections that were wrong or missing" "${figures[3]}" '<=' 0
    done
    awk -v c="$connections" -v r="$rate_router" -v m="$rate_mcp_proxy" -v n="$rate_nginx" -v rp="$p50_router" -v mp="$p50_mcp_proxy" \
      'BEGIN { printf "%-12s router to mcp-proxy: %.2f x the throughput, %.2f x the p50; to nginx: %.2f x the throughput\n", c, r / m, rp / mp, r / n }'
    case $connections in
    1) judge "p50 at 1 connection to that of mcp-proxy" "$(ratio "$p50_router" "$p50_mcp_proxy")" '<=' 0.8 ;;
    32) judge "throughput at 32 connections to that of mcp-proxy" "$(ratio "$rate_router" "$rate_mcp_proxy")" '>=' 2 ;;
    esac
  done
}

# Starts another router in a folder, which holds its configuration. Leaves its process in `pid`, and its address in `api`.
start_another() {
  local dir=$1 i
  "$programs/godot-mcp-router" serve --config "$dir/router.toml" >"$dir/out" 2>&1 &
  pid=$!
  started+=("$pid")
  for ((i = 0; i < 200; i++)); do [[ -s $dir/data/listen ]] && break; sleep 0.05; done
  ((i < 200)) || die "the router in $dir does not listen: $(<"$dir/out")"
  api=http://$(<"$dir/data/listen")
}

# Waits until jq says true of what an address answers: what for, the address, the filter.
until_so() {
  local i
  for ((i = 0; i < 600; i++)); do
    [[ $(curl -s "$2" | jq "$3") == true ]] && return 0
    sleep 0.1
  done
  die "not in time: $1"
}

# What 100 tools with breakers of their own cost a request: a second router, whose breaker policy has a row for each tool of a server
# that lists so many, in turns with the first.
tool_breakers() {
  local dir=$work/tools name round url pid api
  mkdir -p "$dir"
  sed -e "s|$work|$dir|g" -e 's|^command = .*|&\nargs = ["100"]|' "$work/router.toml" >"$dir/router.toml"
  printf '[plugins.config.default-breaker]\ntools = "*"\n' >>"$dir/router.toml"
  start_another "$dir"
  until_so '100 tools with breakers of their own' "$api/api/instances/echo" '.toolBreakers.guarded == 100'
  script_for guarded "$api/mcp/echo" echo
  : >"$work/rounds"
  for ((round = 0; round < rounds * 2 + 1; round++)); do
    for name in router guarded; do
      case $name in router) url=$router_url ;; *) url=$api/mcp/echo ;; esac
      echo "$name $(measure "$name" "$url" 32)" >>"$work/rounds"
    done
  done
  local plain guarded
  plain=$(awk '$1 == "router" { print $2 }' "$work/rounds" | median)
  guarded=$(awk '$1 == "guarded" { print $2 }' "$work/rounds" | median)
  printf '\n100 tools with breakers of their own, at 32 connections: %.0f req/s, beside %.0f without\n' "$guarded" "$plain"
  judge 'throughput with 100 breakers of tools to that without' "$(ratio "$guarded" "$plain")" '>=' 0.97
  kill "$pid"
  wait "$pid" || true
}

# From a reload that gives a breaker policy another generation to its plan in force for 20 instances, as the API shows it: the last of
# them. A look at all of them is a part of it.
plans() {
  local dir=$work/plans n begun pid api
  mkdir -p "$dir"
  sed -e "s|$work|$dir|g" "$work/router.toml" >"$dir/common.toml"
  for ((n = 1; n < 20; n++)); do
    printf '[[instance]]\nid = "echo-%d"\ntemplate = "echo"\n' "$n" >>"$dir/common.toml"
  done
  planning() { { cat "$dir/common.toml"; printf '[plugins.config.default-breaker]\nsuccesses = %d\n' "$1"; } >"$dir/router.toml"; }
  all_plan() {
    [[ $(curl -s "$api/api/instances/echo" "$api/api/instances/echo-[1-19]" | jq -s "length == 20 and all(.breakerPlan.thresholds.successes.value == $1)") == true ]]
  }
  planning 1
  start_another "$dir"
  until_so 'a plan of the policy' "$api/api/instances/echo" '.breakerPlan.thresholds.successes.value == 1'
  : >"$work/rounds"
  for ((n = 2; n < rounds * 3 + 2; n++)); do
    planning "$n"
    begun=$(date +%s%N)
    curl -s -o /dev/null -X POST "$api/api/config/reload"
    until all_plan "$n"; do
      (($(date +%s%N) - begun < 60000000000)) || die "the plan of generation $n is not in force"
    done
    echo $((($(date +%s%N) - begun) / 1000000)) >>"$work/rounds"
  done
  printf '\n'
  judge 'ms from the swap of a breaker policy to its plan in force for 20 instances' "$(median <"$work/rounds")" '<=' 1000
  kill "$pid"
  wait "$pid" || true
}

private_kb() { awk '/^Private/ { sum += $2 } END { print sum }' "/proc/$1/smaps_rollup"; }

memory() {
  local count n pid
  printf '\n%-12s %14s %18s\n' instances router_kB shim_kB_each
  for count in 1 20 100; do
    local dir=$work/m$count
    mkdir -p "$dir"
    sed -e "s|$work|$dir|g" "$work/router.toml" >"$dir/router.toml"
    for ((n = 1; n < count; n++)); do
      printf '[[instance]]\nid = "echo-%d"\ntemplate = "echo"\nautostart = true\n' "$n" >>"$dir/router.toml"
    done
    "$programs/godot-mcp-router" serve --config "$dir/router.toml" >"$dir/out" 2>&1 &
    pid=$!
    started+=("$pid")
    for ((n = 0; n < 600; n++)); do
      [[ -s $dir/data/listen ]] &&
        [[ $(curl -s "http://$(<"$dir/data/listen")/api/health/mcp" | jq .summary.healthyInstances) == "$count" ]] && break
      sleep 0.1
    done
    # A shim is the parent of its instance.
    local instances shim total=0 largest=0
    mapfile -t instances < <(curl -s "http://$(<"$dir/data/listen")/api/health/mcp" | jq '.instances[].pid')
    ((${#instances[@]} == count)) || die "${#instances[@]} of $count instances run"
    for n in "${instances[@]}"; do
      shim=$(private_kb "$(awk '/^PPid/ { print $2 }' "/proc/$n/status")")
      total=$((total + shim))
      ((shim <= largest)) || largest=$shim
    done
    printf '%-12s %14s %18s\n' "$count" "$(private_kb "$pid")" "$((total / count))"
    judge "private kB of the largest shim of $count" "$largest" '<=' 2048
    kill "$pid"
    wait "$pid" || true
  done
}

# What a router takes with so many policies more: copies of one that differ, so that none shares another's code.
policy_memory() {
  local count n kb first pid api
  printf '\n%-12s %14s %18s\n' policies router_kB kB_each
  for count in 0 10 30; do
    local dir=$work/p$count
    mkdir -p "$dir/plugins"
    cp plugins/dist/default-*.wasm "$dir/plugins"
    for ((n = 1; n <= count; n++)); do
      # A custom section behind the rest: length, length of its name, name, number.
      { cat plugins/dist/default-breaker.wasm; printf '\x00\x04\x02no%b' "\\x$(printf %02x "$n")"; } >"$dir/plugins/more-$n.wasm"
    done
    sed -e "s|$work|$dir|g" -e "s|^dir = \"$PWD/plugins/dist\"|dir = \"$dir/plugins\"|" "$work/router.toml" >"$dir/router.toml"
    start_another "$dir"
    until_so "$count policies more" "$api/api/plugins" "[.plugins[] | select(.generation > 0)] | length == $(find "$dir/plugins" -name '*.wasm' | wc -l)"
    # Compiling is over; what it took is given back by and by.
    sleep 3
    kb=$(private_kb "$pid")
    ((count)) || first=$kb
    printf '%-12s %14s %18s\n' "$count" "$kb" "$( ((count == 0)) && echo - || echo $(((kb - first) / count)))"
    kill "$pid"
    wait "$pid" || true
  done
}

policy() {
  local round
  printf '\n'
  for ((round = 0; round < rounds; round++)); do
    "$programs/examples/policy_cost"
  done | tee "$work/policy"
  # "call with a fresh store, recording included: p50 … µs, p99 … µs"
  judge 'p99 of a policy call in µs' "$(sed -n 's/^call with a fresh store.* p99 \([0-9.]*\) .*/\1/p' "$work/policy" | median)" '<=' 20
}

# A rule is asked once a second at most. 100 evaluations a second take a hundredth of a processor for it then.
rules() {
  printf '\n'
  "$programs/examples/rule_cost" | tee "$work/rules"
  # "evaluations per second with 1000 instances, nothing wrong (0 conditions): …"
  judge 'evaluations per second with 1,000 instances' "$(sed -n 's/^evaluations.* 1000 instances, nothing wrong.*: //p' "$work/rules")" '>=' 100
}

# "page sqlite: 200 pages, p50 9 ms, p99 35 ms, …". What is measured, and from when on: tests/src/pages.rs. Postgres is a throw-away one.
pages() {
  printf '\n'
  "$programs/page-latency" | tee "$work/pages"
  judge 'ms p99 from a P1 to the request at its sink, on SQLite' "$(sed -n 's/^page sqlite.* p99 \([0-9]*\) .*/\1/p' "$work/pages")" '<=' 100
  judge 'ms p99 from a P1 to the request at its sink, on Postgres' "$(sed -n 's/^page postgres.* p99 \([0-9]*\) .*/\1/p' "$work/pages")" '<=' 150
}

# User and system time of a process, in ms.
processor_ms() { awk '{ sub(/^.*\) /, ""); print ($12 + $13) * 10 }' "/proc/$1/stat"; }

# Two routers with 1,000 instances of which one runs, for the same minute: one asks its rule every ten seconds, through the whole of it
# (facts, guest, engine, journal), and the other has none.
evaluations() {
  local who n pid api share asked unasked
  declare -A pids before
  printf '\n'
  for who in asked unasked; do
    local dir=$work/e-$who
    mkdir -p "$dir"
    sed -e "s|$work|$dir|g" "$work/router.toml" >"$dir/router.toml"
    [[ $who == asked ]] || printf '[alerts]\nrules = []\n' >>"$dir/router.toml"
    for ((n = 1; n < 1000; n++)); do printf '[[instance]]\nid = "echo-%d"\ntemplate = "echo"\n' "$n" >>"$dir/router.toml"; done
    start_another "$dir"
    pids[$who]=$pid
    until_so '1,000 instances' "$api/api/health/mcp" '.summary.totalInstances == 1000 and .summary.healthyInstances == 1'
    [[ $who == unasked ]] || until_so 'an answer of the rule' "$api/api/plugins/default-alerts" '.calls > 1'
  done
  # What a start leaves to do is done.
  sleep 15
  for who in asked unasked; do before[$who]=$(processor_ms "${pids[$who]}"); done
  sleep 60
  for who in asked unasked; do
    share=$(awk -v ms="$(($(processor_ms "${pids[$who]}") - before[$who]))" 'BEGIN { printf "%.2f", ms / 600 }')
    printf '1,000 instances, rule %-7s: %s %% of a processor\n' "$who" "$share"
    printf -v "$who" '%s' "$share"
    kill "${pids[$who]}"
    wait "${pids[$who]}" || true
  done
  printf 'of which asking takes: %s %%\n' "$(awk -v a="$asked" -v u="$unasked" 'BEGIN { printf "%.2f", a - u }')"
  judge '% of a processor of a router that asks a rule about 1,000 instances every 10 s' "$asked" '<=' 1
}

# "used   390   420   450, 1.2 x": the last is that of 10,000 instances to that of 10.
steps() {
  printf '\n'
  "$programs/examples/step_cost" | tee "$work/steps"
  judge 'the dearest event with 10,000 instances to the same with 10' "$(sed -n 's/.*, \([0-9.]*\) x$/\1/p' "$work/steps" | sort -g | tail -n 1)" '<=' 10
}

# "10 940 684 161": instances, and the nanoseconds to add one, to change its entry, and to read it.
routes() {
  printf '\n'
  "$programs/examples/hot_path" table | tee "$work/routes"
  judge 'changing a route among 10,000 instances to the same among 10' "$(awk '$1 == 10 { few = $3 } $1 == 10000 { many = $3 } END { print many / few }' "$work/routes")" '<=' 10
}

parts=("$@")
((${#parts[@]})) || parts=(compare tool_breakers plans policy rules pages evaluations steps routes memory policy_memory)
packages
build
start_router
script_for router "$router_url" echo
for part in "${parts[@]}"; do
  "$part"
  [[ $part != compare ]] || say "router memory after the load: $(private_kb "$router_pid") kB private"
done
((misses == 0)) || die "$misses targets were missed"
say 'every target was met'
