//! `docs/runbook.md`: every block that is fenced as `sh run=NAME` is run as it stands, in the state that its section describes, and has
//! to show what the table below says. A block that the table does not know fails the test, and so does an entry without its block.
//!
//! In a block, `X` stands for an instance's id, as the document says. The other blocks name things of an operator's site; they are
//! looked at only for what they do not run: a `curl` of ours among them fails the test as well.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    database::{self, done},
    drills,
};
use router_test_postgres::{Cluster, ClusterOptions};
use router_tests::{
    Config, Load, Router,
    blocks::{self, Block},
    load::Plan,
    peers,
    shell::run,
    until,
    worlds::{self, LOOPING, SLOW, WELL},
};

/// In which state a block is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Well,
    Refused,
    Held,
    Troubled,
    Down,
    OnPostgres,
    DatabaseLost,
}

/// What a block has to show.
struct Shows {
    block: &'static str,
    state: State,
    /// What `X` stands for.
    id: &'static str,
    /// Texts that its output has to hold.
    holds: &'static [&'static str],
    /// And must not.
    lacks: &'static [&'static str],
}

const fn shows(
    block: &'static str,
    state: State,
    id: &'static str,
    holds: &'static [&'static str],
    lacks: &'static [&'static str],
) -> Shows {
    Shows {
        block,
        state,
        id,
        holds,
        lacks,
    }
}

/// In the order in which they are run: the breaker stays open for half a minute only.
const TABLE: [Shows; 31] = [
    shows(
        "readiness",
        State::Well,
        WELL,
        &["\"healthy\"", "connected"],
        &["degraded"],
    ),
    shows(
        "summary",
        State::Well,
        WELL,
        &[
            "\"total\": 1",
            "\"healthy\": 1",
            "\"errorRate\": 0",
            "\"p95Ms\": ",
        ],
        &["null"],
    ),
    shows(
        "shift-alerts",
        State::Well,
        WELL,
        &["no alert is open"],
        &[],
    ),
    shows(
        "history",
        State::Well,
        WELL,
        &[
            "lifecycle echo  starting to ready  ",
            "router   - to started  version ",
            "\"to\": \"ready\"",
        ],
        &["null  "],
    ),
    shows(
        "shift-metrics",
        State::Well,
        WELL,
        &["mcp_", "%"],
        &[" ERROR "],
    ),
    shows(
        "reload",
        State::Well,
        WELL,
        &[
            "router.toml is fine",
            "\"changed\": [\n    \"echo\"",
            "\"needsRestart\": []",
        ],
        &[],
    ),
    shows(
        "p3",
        State::Well,
        WELL,
        &[
            "mcp_request_duration_seconds_bucket",
            "ms  echo  in flight 0",
            "godot-m",
        ],
        &["null"],
    ),
    shows(
        "memory",
        State::Well,
        WELL,
        &["MB  echo  pid ", "godot-mcp-router serve"],
        &["null"],
    ),
    shows(
        "weekly",
        State::Well,
        WELL,
        &["\tlogs", "godot-mcp-echo.sock"],
        &[],
    ),
    shows(
        "memory-restart",
        State::Well,
        WELL,
        &["\"versionId\": \"echo\"", "\"pid\": "],
        &["\"pid\": null"],
    ),
    shows(
        "plugins",
        State::Refused,
        WELL,
        &[
            "\"state\": \"serving\"",
            "\"code\": \"not_wasm\"",
            "\"default-health\": \"it is not WebAssembly",
        ],
        &[],
    ),
    shows(
        "held",
        State::Held,
        WELL,
        &[
            "generation 2 is held",
            "\"state\": \"held\"",
            "unhealthy: nothing answered for",
            "plugin default-health  held  generation 2",
        ],
        &[],
    ),
    shows(
        "held-reject",
        State::Held,
        WELL,
        &["generation 2 of default-health is rejected: generation "],
        &[],
    ),
    shows(
        "held-confirm",
        State::Held,
        WELL,
        &["of default-health is in force"],
        &[],
    ),
    shows("project", State::Well, WELL, &["it can be served"], &[]),
    shows(
        "capacity",
        State::Well,
        WELL,
        &["need 1 server", "running instances on average"],
        &[],
    ),
    shows("growth", State::Well, WELL, &[], &[]),
    shows(
        "token",
        State::Well,
        WELL,
        &["[[token]]", "dashboard", "viewer"],
        &[],
    ),
    shows(
        "p1-diagnosis",
        State::Down,
        LOOPING,
        &["HTTP/1.1 200", "HTTP/1.1 503", "godot-mcp-router"],
        &[],
    ),
    shows(
        "p1-verify",
        State::Down,
        LOOPING,
        &["\"totalInstances\": 1", "\"unhealthyInstances\": 1"],
        &[],
    ),
    shows(
        "breaker-open",
        State::Troubled,
        SLOW,
        &[
            "\"versionId\": \"7\"",
            "OPEN",
            "circuit breaker",
            "version_id: 7",
        ],
        &[],
    ),
    shows(
        "unwell",
        State::Troubled,
        SLOW,
        &["42  unhealthy"],
        &["echo"],
    ),
    shows(
        "hourly",
        State::Troubled,
        SLOW,
        &["ALERT: 1 instances in crash loop"],
        &["error rate"],
    ),
    shows(
        "p2-source",
        State::Troubled,
        SLOW,
        &["mcp_errors_timeout_total 3", "TIMEOUT", "VALIDATION"],
        &[],
    ),
    shows("p4", State::Troubled, SLOW, &["\"action\""], &[]),
    shows(
        "spawn",
        State::Troubled,
        LOOPING,
        &[
            "godot-mcp-echo.sock",
            "\"versionId\": \"42\"",
            "asked to end before it begins",
        ],
        &[],
    ),
    shows(
        "crash-loop",
        State::Troubled,
        LOOPING,
        &[
            "\"crashLoopDetected\": true",
            "asked to end before it begins",
            "version_id: 42",
        ],
        &[],
    ),
    shows("audit", State::Troubled, SLOW, &["AUDIT", "\"actor\""], &[]),
    shows(
        "breaker-half-open",
        State::Troubled,
        SLOW,
        &["\"versionId\": \"7\"", "HALF_OPEN"],
        &[],
    ),
    shows(
        "breaker-by-hand",
        State::Troubled,
        SLOW,
        &["\"OPEN\"", "\"isolated\": true", "\"CLOSED\""],
        &[],
    ),
    shows(
        "crash-loop-repair",
        State::Troubled,
        LOOPING,
        &["\"versionId\": \"42\"", "\"crashLoopDetected\": false"],
        &[],
    ),
];

/// Blocks on a database stand apart: they need one.
const DATABASE: [Shows; 7] = [
    shows(
        "connections",
        State::OnPostgres,
        WELL,
        &["connections", "idle"],
        &["(0 rows)"],
    ),
    shows(
        "activity",
        State::OnPostgres,
        WELL,
        &["godot-mcp-router", "wait_event_type", "running"],
        &[],
    ),
    shows(
        "slow-statements",
        State::OnPostgres,
        WELL,
        &["mean_exec_time", "godot_mcp_router."],
        &["(0 rows)"],
    ),
    shows(
        "load",
        State::OnPostgres,
        WELL,
        &["in_flight", "memory_mb"],
        &[],
    ),
    shows("backup", State::OnPostgres, WELL, &["VACUUM"], &[]),
    shows(
        "role",
        State::OnPostgres,
        WELL,
        &["CREATE ROLE", "GRANT", "REVOKE"],
        &[],
    ),
    shows(
        "database",
        State::DatabaseLost,
        WELL,
        &[
            "\"status\": \"degraded\"",
            "\"database\": \"disconnected\"",
            "mcp_errors_database_total",
        ],
        &[],
    ),
];

fn document() -> Vec<Block> {
    blocks::read(&peers::repository().join("docs/runbook.md"))
}

async fn check(router: &Router, state: State) {
    let blocks = document();
    for entry in TABLE
        .iter()
        .chain(&DATABASE)
        .filter(|entry| entry.state == state)
    {
        let block = blocks
            .iter()
            .find(|block| block.is_run && block.name == entry.block);
        let block =
            block.unwrap_or_else(|| panic!("docs/runbook.md has no block run={}", entry.block));
        let place = format!("docs/runbook.md:{}, run={}", block.line, block.name);
        let replacements = [
            ("instances/X", format!("instances/{}", entry.id)),
            ("version_id: X", format!("version_id: {}", entry.id)),
            ("instance=X", format!("instance={}", entry.id)),
            ("== \"X\"", format!("== \"{}\"", entry.id)),
            (
                "/path/to/project",
                peers::tests()
                    .join("fixtures/godot/demo")
                    .display()
                    .to_string(),
            ),
        ];
        let replacements: Vec<(&str, &str)> = replacements
            .iter()
            .map(|(from, to)| (*from, to.as_str()))
            .collect();
        let output = run(router, &block.text, &replacements).await;
        assert_eq!(output.code, 0, "{place}: {output:#?}");
        for text in entry.holds {
            assert!(
                output.stdout.contains(text),
                "{place}: no {text:?} in {output:#?}\n{}",
                router.tail()
            );
        }
        for text in entry.lacks {
            assert!(
                !output.stdout.contains(text),
                "{place}: {text:?} in {output:#?}"
            );
        }
        for complaint in [
            "command not found",
            "parse error",
            "syntax error",
            "jq: error",
            "ERROR:",
            "psql: error",
            "pg_dump: error",
        ] {
            assert!(!output.stderr.contains(complaint), "{place}: {output:#?}");
        }
    }
}

#[test]
fn every_block_has_its_entry_and_every_entry_its_block() {
    let blocks = document();
    let run: BTreeSet<&str> = blocks
        .iter()
        .filter(|block| block.is_run)
        .map(|block| block.name.as_str())
        .collect();
    let known: BTreeSet<&str> = TABLE
        .iter()
        .chain(&DATABASE)
        .map(|entry| entry.block)
        .chain(drills::BLOCKS)
        .collect();
    assert_eq!(
        run, known,
        "blocks of docs/runbook.md (left), entries of this test (right)"
    );
    for block in blocks.iter().filter(|block| !block.is_run) {
        let is_ours = |line: &str| line.starts_with("godot-mcp-router ");
        assert!(
            !block.text.contains("localhost:3002")
                && !block.text.contains("psql")
                && !block.text.lines().any(is_ours),
            "docs/runbook.md:{}: a command on our surface that no test runs: give the block a run=NAME",
            block.line
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_commands_on_a_router_that_is_well() {
    let router = worlds::well().await;
    router
        .instance_until(WELL, "measured", Duration::from_secs(30), |one| {
            one["memoryMb"].is_number()
        })
        .await;
    // As the sections say: a timeout was changed in the file, and a socket is older than a week.
    let text = std::fs::read_to_string(router.config_path()).unwrap();
    let changed = text.replace(
        "[template.t-echo]\n",
        "[template.t-echo]\nrequest_timeout = \"10s\"\n",
    );
    assert_ne!(text, changed);
    std::fs::write(router.config_path(), changed).unwrap();
    let aged = format!("touch -d '8 days ago' s/godot-mcp-{WELL}.sock");
    let _ = run(&router, &aged, &[]).await.fine();
    check(&router, State::Well).await;
    let grown = std::fs::read_to_string(router.path("capacity.log")).unwrap();
    assert!(grown.contains("instances=1"), "{grown}");
    assert!(router.path(&format!("s/godot-mcp-{WELL}.sock")).exists());
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_commands_on_a_router_that_refused_a_plugin() {
    // A policy that plans has metrics of its own, and so has a rule that answers.
    let config = Config::new()
        .bundled_policy()
        .bundled_alerts()
        .set("policy", "breaker = \"default-breaker\"")
        .server(peers::echo().named(WELL).autostart());
    let mut router = Router::prepared(&config, &[]);
    let breaker = router.path("plugins/default-breaker.wasm");
    std::fs::copy(peers::bundled_breaker_policy(), breaker).unwrap();
    router.start_again().await;
    let plugin_until = async |what: &str, wanted: fn(&serde_json::Value) -> bool| {
        until(what, Duration::from_secs(60), async || {
            let shown = router.get("/api/plugins/default-health").await;
            if wanted(&shown) {
                Ok(())
            } else {
                Err(format!("{shown}\n{}", router.tail()))
            }
        })
        .await;
    };
    plugin_until("a good generation", |shown| shown["state"] == "serving").await;
    std::fs::write(router.path("plugins/default-health.wasm"), "no plugin\n").unwrap();
    plugin_until("the refusal", |shown| shown["candidate"].is_object()).await;
    check(&router, State::Refused).await;
    let plan = Plan::clients(2);
    let load = Load::run(router.address(), "/mcp/echo", &plan, Duration::from_secs(1)).await;
    load.assert_clean(20);
    until(
        "an answer of the rule",
        Duration::from_secs(60),
        async || {
            let served = router.get("/api/metrics/prometheus").await.to_string();
            let has_answered = served.contains("mcp_alert_rule_answered_timestamp_seconds{");
            has_answered.then_some(()).ok_or_else(|| router.tail())
        },
    )
    .await;
    assert_metrics_are_served(&router).await;
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_commands_on_a_router_that_holds_a_generation() {
    let config = |setting: &str| {
        let config = Config::new()
            .bundled_policy()
            .set("health", "interval = \"200ms\"")
            .set("plugins.config.default-health", setting);
        [WELL, "second", "third"]
            .into_iter()
            .fold(config, |config, name| {
                config.server(peers::echo().named(name).autostart())
            })
    };
    let router = Router::start(&config("requests_min = 20")).await;
    for name in [WELL, "second", "third"] {
        router.ready(name).await;
    }
    let plugin_until = async |what: &str, wanted: fn(&serde_json::Value) -> bool| {
        until(what, Duration::from_secs(60), async || {
            let shown = router.get("/api/plugins/default-health").await;
            if wanted(&shown) {
                Ok(())
            } else {
                Err(format!("{shown}\n{}", router.tail()))
            }
        })
        .await;
    };
    plugin_until("a good generation", |shown| shown["generation"] == 1).await;
    // A slip: a second for half a minute, while pings come every ten seconds.
    router.write_config(&config("silent_unhealthy_ms = 1000"));
    router.post("/api/config/reload").await;
    plugin_until("what is held", |shown| shown["trial"]["state"] == "held").await;
    check(&router, State::Held).await;
    router.end().await;
}

/// Every metric that a document names, in a query, a command or a sentence.
async fn assert_metrics_are_served(router: &Router) {
    let served = router.get("/api/metrics/prometheus").await;
    let served = served.as_str().unwrap();
    let is_served = |name: &str| {
        let is_it = |line: &str| {
            let rest = line.strip_prefix(name);
            let rest = rest.map(|rest| rest.strip_prefix("_count").unwrap_or(rest));
            rest.is_some_and(|rest| rest.starts_with([' ', '{']))
        };
        served.lines().any(is_it)
    };
    let mut named = 0;
    for document in ["README.md", "docs/runbook.md", "docs/plugins.md"] {
        let text = std::fs::read_to_string(peers::repository().join(document)).unwrap();
        let names = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in names.filter(|name| name.starts_with("mcp_") && !name.ends_with('_')) {
            named += 1;
            assert!(is_served(name), "{document}: no metric is called {name}");
        }
    }
    assert!(named > 5, "only {named} metrics were found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_commands_on_a_router_that_is_down() {
    let router = worlds::down().await;
    check(&router, State::Down).await;
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_commands_on_a_router_in_trouble() {
    let router = worlds::troubled().await;
    check(&router, State::Troubled).await;
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_commands_on_a_router_with_postgres_and_then_without() {
    let options = ClusterOptions {
        settings: vec!["shared_preload_libraries=pg_stat_statements".to_owned()],
        ..ClusterOptions::default()
    };
    let cluster = database::cluster(options).await;
    let database = cluster.fresh_database().unwrap();
    cluster
        .query(&database, "CREATE EXTENSION pg_stat_statements")
        .unwrap();
    let config = Config::new()
        .set("health", "disk_share = 1.0")
        .server(peers::echo().named(WELL).autostart());
    let mut router = Router::prepared(&config, &[]);
    router.set_variable("DATABASE_URL", &cluster.url(&database));
    let migrated = router.run(&["migrate", "--with-godot-versions"]).await;
    assert!(migrated.status.success(), "{migrated:?}");
    router.start_again().await;
    router.ready(WELL).await;
    check(&router, State::OnPostgres).await;
    let backups = std::fs::read_dir(router.path("backups")).unwrap();
    let sizes = backups.map(|file| file.unwrap().metadata().unwrap().len());
    assert!(sizes.sum::<u64>() > 1_000, "the backup holds nothing");

    // The role that the runbook makes can serve, and cannot delete.
    let role = cluster.role_url("godot_app", "secure_password", &database);
    router.terminate().await;
    router.set_variable("DATABASE_URL", &role);
    router.start_again().await;
    router.ready(WELL).await;
    let name = "by_the_serving_role";
    let (status, body) = router
        .ask(
            reqwest::Method::PUT,
            "/api/log-level",
            Some(&serde_json::json!({"level": format!("info,{name}=debug")})),
        )
        .await;
    assert_eq!(status, 200, "{body}");
    until("its audit row", Duration::from_secs(30), async || {
        let rows = cluster.query(
            &database,
            &format!("SELECT count(*) FROM godot_mcp_router.audit WHERE target LIKE '%{name}%'"),
        );
        match rows {
            Ok(count) if count.trim() == "1" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let refused = cluster.query_at(&role, "DELETE FROM godot_versions");
    assert!(refused.is_err(), "{refused:?}");

    done(&cluster, Cluster::stop).await;
    until("the loss to be seen", Duration::from_secs(60), async || {
        let readiness = router.readiness().await;
        if readiness["database"] == "disconnected" {
            Ok(())
        } else {
            Err(readiness.to_string())
        }
    })
    .await;
    check(&router, State::DatabaseLost).await;
    router.end().await;
}
