//! The commands of the runbook that this router takes over from, as they stand there, each in the state that its section describes. What
//! they show is what that section expects, or the deviation that `docs/runbook.md` declares. Only the address and the folder of the
//! sockets are the test's own.

use std::{fs, time::Duration};

use crate::database::{self, done};
use router_test_postgres::{Cluster, ClusterOptions};
use router_tests::{
    Config, Router, peers,
    shell::{Output, run},
    until,
    worlds::{self, LOOPING, SLOW, WELL},
};
use serde_json::{Value, json};

async fn shown(router: &Router, command: &str) -> String {
    run(router, command, &[]).await.fine().stdout
}

async fn json_of(router: &Router, command: &str) -> Vec<Value> {
    run(router, command, &[]).await.fine().json()
}

fn number(text: &str) -> f64 {
    text.trim()
        .parse()
        .unwrap_or_else(|_| panic!("no number: {text:?}"))
}

/// `2025-01-01T00:00:00Z`, with or without a fraction.
fn is_timestamp(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((date, time)) = text.split_once('T') else {
        return false;
    };
    let Some(time) = time.strip_suffix('Z') else {
        return false;
    };
    date.len() == 10
        && date.split('-').all(digits)
        && time.split([':', '.']).all(digits)
        && time.len() >= 8
}

const READINESS: &str = "curl -s http://localhost:3002/api/health/readiness | jq .";
const SUMMARY: &str = "curl -s http://localhost:3002/api/health/mcp | jq '
  {
    total: .summary.totalInstances,
    healthy: .summary.healthyInstances,
    unhealthy: .summary.unhealthyInstances,
    crashLoop: .summary.crashLoopInstances
  }'";
const ERRORS: &str = "curl -s http://localhost:3002/api/metrics/prometheus | \\
  grep 'mcp_errors_total' | awk '{sum+=$2} END {print sum}'";
const BUCKET: &str = "curl -s http://localhost:3002/api/metrics/prometheus | \\
  grep 'mcp_request_duration_seconds_bucket{le=\"0.5\"}' | awk '{print $2}'";
const CRASHES: &str = "curl -s http://localhost:3002/api/health/mcp | \\
  jq '.summary.crashLoopInstances'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_start_of_a_shift_on_a_router_that_is_well() {
    let router = worlds::well().await;
    let readiness = &json_of(&router, READINESS).await[0];
    assert_eq!(readiness["status"], "healthy", "{readiness}");
    assert!(
        is_timestamp(readiness["timestamp"].as_str().unwrap()),
        "{readiness}"
    );
    assert_eq!(
        json_of(&router, SUMMARY).await[0],
        json!({"total": 1, "healthy": 1, "unhealthy": 0, "crashLoop": 0})
    );
    let metrics = shown(
        &router,
        "curl -s http://localhost:3002/api/metrics/prometheus | grep -E \"^mcp_\" | head -10",
    )
    .await;
    assert_eq!(metrics.lines().count(), 10, "{metrics}");
    let errors = run(
        &router,
        "grep ERROR logs/godot-mcp-router.log | tail -20",
        &[],
    )
    .await;
    assert_eq!(errors.stdout, "", "a router that is well logs errors");

    // The hourly script: what it computes are numbers; what it concludes from them is a declared deviation.
    assert_eq!(number(&shown(&router, ERRORS).await), 0.0);
    let bucket = shown(&router, BUCKET).await;
    assert_eq!(
        bucket.lines().count(),
        1,
        "one bucket, without labels: {bucket}"
    );
    assert!(number(&bucket) >= 2_000.0, "{bucket}");
    assert_eq!(number(&shown(&router, CRASHES).await), 0.0);
    let latencies = shown(
        &router,
        "curl -s http://localhost:3002/api/metrics/prometheus | grep -E \"duration|latency\"",
    )
    .await;
    assert!(
        latencies.contains("mcp_request_duration_seconds_count"),
        "{latencies}"
    );
    let watched =
        "curl -s http://localhost:3002/api/metrics/prometheus | grep \"request_duration\"";
    assert!(shown(&router, watched).await.contains("_sum"));
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn growth_is_monitored_with_numbers() {
    let router = worlds::well().await;
    let total = shown(
        &router,
        "curl -s http://localhost:3002/api/health/mcp | \\
  jq '.summary.totalInstances'",
    )
    .await;
    assert_eq!(number(&total), 1.0);
    let average = "curl -s http://localhost:3002/api/metrics/prometheus | \\
  grep 'mcp_request_duration_seconds' | \\
  awk '{sum+=$2; count++} END {print sum/count}'";
    assert!(number(&shown(&router, average).await) > 0.0);
    let rate = "curl -s http://localhost:3002/api/metrics/prometheus | \\
  grep 'mcp_errors_total' | \\
  awk '{sum+=$2} END {print sum}'";
    assert_eq!(number(&shown(&router, rate).await), 0.0);
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_down() {
    let router = worlds::down().await;
    let readiness = shown(
        &router,
        "curl -i http://localhost:3002/api/health/readiness",
    )
    .await;
    assert!(readiness.starts_with("HTTP/1.1 503"), "{readiness}");
    let summary = &json_of(
        &router,
        "curl http://localhost:3002/api/health/mcp | jq '.summary'",
    )
    .await[0];
    assert_eq!(summary["totalInstances"], 1, "{summary}");
    assert_eq!(summary["unhealthyInstances"], 1, "{summary}");
    assert_eq!(number(&shown(&router, CRASHES).await), 1.0);
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_are_seen_and_nobody_loses_a_live_one() {
    let router = worlds::well().await;
    let count = shown(&router, "netstat -an | grep godot-mcp | wc -l").await;
    assert!(number(&count) >= 1.0, "{count}");
    let listed = shown(&router, "ls -la /tmp/godot-mcp-*.sock").await;
    assert!(
        listed.contains(&format!("godot-mcp-{WELL}.sock")),
        "{listed}"
    );
    assert!(
        listed.starts_with("srw-------"),
        "the socket's mode: {listed}"
    );
    let swept = shown(
        &router,
        r#"for sock in /tmp/godot-mcp-*.sock; do
  pid=$(lsof $sock | tail -1 | awk '{print $2}')
  if [ -z "$pid" ]; then
    echo "Stale socket: $sock"
    rm $sock
  fi
done"#,
    )
    .await;
    assert_eq!(swept, "", "a live socket is taken for a stale one");
    let seen = shown(&router, "netstat -an | grep /tmp/godot-mcp-*.sock").await;
    assert!(seen.contains(&format!("godot-mcp-{WELL}.sock")), "{seen}");

    // The weekly cleaning deletes by age: a live socket that it takes is put back.
    let socket = router.path(&format!("s/godot-mcp-{WELL}.sock"));
    let aged = format!("touch -d '8 days ago' {}", socket.display());
    shown(&router, &aged).await;
    shown(
        &router,
        "find /tmp -name \"godot-mcp-*.sock\" -mtime +7 -delete",
    )
    .await;
    until(
        "the socket to be put back",
        Duration::from_secs(60),
        async || {
            if socket.exists() {
                Ok(())
            } else {
                Err("not there".to_owned())
            }
        },
    )
    .await;

    // And that of the logs takes old ones only.
    let old = router.path("logs/godot-mcp-router.2020-01-01.log");
    fs::write(&old, "old\n").unwrap();
    shown(
        &router,
        &format!("touch -d '31 days ago' {}", old.display()),
    )
    .await;
    shown(
        &router,
        "LOG_DIR=logs; KEEP_DAYS=30; find $LOG_DIR -name \"*.log\" -mtime +$KEEP_DAYS -delete",
    )
    .await;
    assert!(!old.exists());
    assert!(router.path("logs/godot-mcp-router.log").exists());
    router.end().await;
}

/// The sections on error rates, breakers and crash loops, in one: they describe one router in trouble, and half a minute passes in them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_in_trouble() {
    let router = worlds::troubled().await;
    breaker_open(&router).await;
    errors(&router).await;
    crash_loop(&router).await;
    let waited = json_of(
        &router,
        "sleep 35
curl http://localhost:3002/api/health/mcp | \\
  jq '.instances[] | select(.circuitBreakerState==\"HALF_OPEN\")'",
    )
    .await;
    assert_eq!(waited.len(), 1, "{waited:?}");
    assert_eq!(waited[0]["versionId"], SLOW, "{waited:?}");
    let said = shown(
        &router,
        "tail -100 logs/godot-mcp-router.log | grep -A5 \"HALF_OPEN\"",
    )
    .await;
    assert!(said.contains("HALF_OPEN"), "{said}");
    router.end().await;
}

async fn breaker_open(router: &Router) {
    let open = json_of(
        router,
        "curl -s http://localhost:3002/api/health/mcp | \\
  jq '.instances[] | select(.circuitBreakerState==\"OPEN\")'",
    )
    .await;
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!(open[0]["versionId"], SLOW);
    assert!(
        open[0]["retryAfterMs"]
            .as_u64()
            .is_some_and(|ms| ms <= 34_000),
        "{open:?}"
    );
    let said = shown(
        router,
        "grep \"circuit breaker\" logs/godot-mcp-router.log | tail -20",
    )
    .await;
    assert!(
        said.contains(&format!("version_id: {SLOW}")) && said.contains("OPEN"),
        "{said}"
    );
    // What a client gets: the message that the section begins with.
    let mut session = router.session(SLOW).await;
    let answer = session.try_call("echo", &json!({"text": "x"})).await;
    let message = answer["error"]["message"].to_string();
    assert!(
        message.contains("Circuit breaker is OPEN. Retry in "),
        "{answer}"
    );
}

async fn errors(router: &Router) {
    let sorted = shown(
        router,
        "curl -s http://localhost:3002/api/metrics/prometheus | \\
  grep 'mcp_errors_total' | sort -k2 -nr | head -5",
    )
    .await;
    let first = sorted.lines().next().unwrap_or_default().to_owned();
    assert_eq!(sorted.lines().count(), 5, "{sorted}");
    assert!(
        first.contains("kind=") && !first.ends_with(" 0"),
        "{sorted}"
    );
    // Declared: that grep cannot print the older names, and this one does.
    let older = shown(
        router,
        "curl -s http://localhost:3002/api/metrics/prometheus | grep -E '^mcp_errors_[a-z]+_total' | sort -k2 -nr",
    )
    .await;
    for kind in ["timeout", "validation"] {
        let line = older
            .lines()
            .find(|line| line.starts_with(&format!("mcp_errors_{kind}_total ")));
        let line = line.unwrap_or_else(|| panic!("no {kind} in {older}"));
        assert!(number(line.split(' ').nth(1).unwrap()) >= 1.0, "{older}");
    }
    assert!(older.contains("mcp_errors_database_total 0"), "{older}");
    let timeouts = shown(router, "grep TIMEOUT logs/godot-mcp-router.log | tail -20").await;
    assert!(
        timeouts.contains(&format!("version_id: {SLOW}")),
        "{timeouts}"
    );
    let invalid = shown(
        router,
        "grep VALIDATION logs/godot-mcp-router.log | tail -20",
    )
    .await;
    assert!(!invalid.is_empty());
    let logged = shown(router, "grep ERROR logs/godot-mcp-router.log | tail -20").await;
    assert!(
        logged.contains(&format!("version_id: {LOOPING}")),
        "{logged}"
    );
}

async fn crash_loop(router: &Router) {
    let looping = json_of(
        router,
        "curl http://localhost:3002/api/health/mcp | \\
  jq '.instances[] | select(.crashLoopDetected)'",
    )
    .await;
    assert_eq!(looping.len(), 1, "{looping:?}");
    assert_eq!(looping[0]["id"], 42, "{looping:?}");
    // What a container logs is what the router writes to stdout.
    let logs = run(
        router,
        "cat output | grep \"version_id: X\" | tail -50",
        &[("version_id: X", &format!("version_id: {LOOPING}"))],
    )
    .await
    .fine();
    assert!(
        logs.stdout.contains(
            "Instance has exceeded max restart attempts. Entering crash loop protection."
        ),
        "{logs:?}"
    );
    let version = [("{versionId}", LOOPING), ("==X", "==42")];
    let cleared = run(
        router,
        "curl -X DELETE http://localhost:3002/api/instances/{versionId}/state",
        &version,
    )
    .await;
    assert_eq!(cleared.json()[0]["versionId"], LOOPING, "{cleared:?}");
    let restarted: Output = run(
        router,
        "curl -X POST http://localhost:3002/api/instances/{versionId}/restart",
        &version,
    )
    .await;
    assert_eq!(restarted.json()[0]["versionId"], LOOPING, "{restarted:?}");
    let one = run(
        router,
        "curl -s http://localhost:3002/api/health/mcp | \\
  jq '.instances[] | select(.id==X)'",
        &version,
    )
    .await
    .fine();
    assert_eq!(one.json().len(), 1, "{one:?}");
    let audited = shown(
        router,
        "grep \"AUDIT\" logs/godot-mcp-router.log | head -20",
    )
    .await;
    assert!(audited.contains("AUDIT"), "{audited}");
}

/// The first of the issues: what cannot be started is said in the words that its section begins with, and counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spawn_that_fails() {
    let missing = router_tests::Server::new("missing", "/nowhere/no-such-server", [""; 0]);
    let router = Router::start(&Config::new().server(missing.autostart())).await;
    router
        .logged(
            &["Spawn failed: ", "version_id: missing"],
            Duration::from_secs(30),
        )
        .await;
    let counted = shown(
        &router,
        "curl -s http://localhost:3002/api/metrics/prometheus | grep -E '^mcp_errors_spawn_total'",
    )
    .await;
    assert!(
        number(counted.split(' ').nth(1).unwrap_or_default()) >= 1.0,
        "{counted}"
    );
    router.end().await;
}

/// The commands on the database, on one that works and then on none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database() {
    let cluster = database::cluster(ClusterOptions::default()).await;
    let database = cluster.fresh_database().unwrap();
    let url = cluster.url(&database);
    let config = Config::new()
        .set("storage", &format!("url = {url:?}"))
        .set("health", "disk_share = 1.0")
        .server(peers::echo().autostart());
    let mut router = Router::prepared(&config, &[]);
    assert!(router.run(&["migrate"]).await.status.success());
    router.start_again().await;
    router.ready(WELL).await;
    let replacements = [
        ("$DATABASE_URL", url.as_str()),
        ("veritable_games", database.as_str()),
    ];
    let psql = async |text: &str| run(&router, text, &replacements).await;
    let active = psql(
        "psql $DATABASE_URL -At -c \"
  SELECT count(*) as active_connections
  FROM pg_stat_activity
  WHERE datname = 'veritable_games';\"",
    )
    .await
    .fine();
    assert!((1.0..20.0).contains(&number(&active.stdout)), "{active:?}");
    assert_eq!(
        psql("psql $DATABASE_URL -At -c \"SELECT 1\"")
            .await
            .fine()
            .stdout
            .trim(),
        "1"
    );
    let grouped = psql(
        "psql $DATABASE_URL -c \"
  SELECT count(*) as active_connections,
         datname,
         client_addr,
         state
  FROM pg_stat_activity
  WHERE datname = 'veritable_games'
  GROUP BY datname, client_addr, state;\"",
    )
    .await
    .fine();
    assert!(grouped.stdout.contains(&database), "{grouped:?}");
    // Declared: there is no column `name`.
    let wrong = psql(
        "psql $DATABASE_URL -c \"
  SELECT name, state, wait_event_type
  FROM pg_stat_activity
  WHERE datname = 'veritable_games'
  ORDER BY state_change DESC;\"",
    )
    .await;
    assert_ne!(wrong.code, 0, "the declared deviation is none: {wrong:?}");

    done(&cluster, Cluster::stop).await;
    until("the loss to be seen", Duration::from_secs(60), async || {
        let readiness = json_of(&router, READINESS).await.remove(0);
        if readiness["status"] == "degraded" {
            Ok(())
        } else {
            Err(readiness.to_string())
        }
    })
    .await;
    assert_ne!(psql("psql $DATABASE_URL -c \"SELECT 1\"").await.code, 0);
    let logged = shown(&router, "grep ERROR logs/godot-mcp-router.log | tail -20").await;
    assert!(logged.contains("database"), "{logged}");
    router.end().await;
}
