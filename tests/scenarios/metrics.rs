//! Every metric that a document names is served by a router to which what it counts has happened.

use std::{collections::BTreeSet, fs, time::Duration};

use router_tests::{Config, Router, peers, until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

/// Names that look like metrics: the database and its user.
const OTHERS: [&str; 1] = ["mcp_router"];

/// Names, and beginnings of names, which end in `_`.
fn named() -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let mut names = BTreeSet::new();
    for document in [
        "README.md",
        "CHANGELOG.md",
        "docs/alerts.md",
        "docs/runbook.md",
        "docs/plugins.md",
    ] {
        let text = fs::read_to_string(peers::repository().join(document)).unwrap();
        let found = text.split(|c: char| !is_part(c));
        let found = found.filter(|name| name.starts_with("mcp_") && !OTHERS.contains(name));
        names.extend(found.map(str::to_owned));
    }
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_that_a_document_names_is_served() {
    let server = peers::scripted(&[]).named("early").autostart();
    let config = Config::new()
        .bundled_alerts()
        .set("policy", "breaker = \"hostile-breaker\"")
        .set("plugins.config.hostile-breaker", "mode = \"guard\"")
        .server(server.with("request_timeout = \"200ms\""));
    let mut router = Router::prepared(&config, &[]);
    let place = |name: &str| router.path(&format!("plugins/{name}.wasm"));
    let guest = peers::guest("hostile-breaker.wasm");
    fs::copy(guest, place("hostile-breaker")).unwrap();
    fs::write(place("no-policy"), "no component").unwrap();
    router.start_again().await;
    router.ready("early").await;
    let shown = async |what: &str, path: &str, wanted: &dyn Fn(&Value) -> bool| {
        until(what, SOON, async || {
            let shown = router.get(path).await;
            let is_so = wanted(&shown);
            is_so.then_some(()).ok_or(shown.to_string())
        })
        .await;
    };
    let of_instance = "/api/instances/early";
    shown("a guarded tool", of_instance, &|one| {
        one["toolBreakers"]["guarded"] == 1
    })
    .await;
    let mut session = router.session("early").await;
    for _ in 0..20 {
        session.call("echo", &json!({"text": "x"})).await;
    }
    for _ in 0..3 {
        session.try_call("hang", &json!({})).await;
    }
    shown("its breaker to be OPEN", of_instance, &|one| {
        one["toolBreakers"]["tripped"][0]["state"] == "OPEN"
    })
    .await;
    let refusing = config.set("plugins.config.hostile-breaker", "mode = \"nan\"");
    router.write_config(&refusing);
    router.post("/api/config/reload").await;
    shown("a refused plan", of_instance, &|one| {
        !one["breakerPlan"]["refused"].is_null()
    })
    .await;
    let served = router.get("/api/metrics/prometheus").await;
    let served = served.as_str().unwrap();
    let helped = served
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP "));
    let families: BTreeSet<&str> = helped.filter_map(|line| line.split(' ').next()).collect();
    for name in named() {
        let is_served = families.iter().any(|family| {
            let is_beginning = name.ends_with('_') && family.starts_with(&name);
            let suffix = name.strip_prefix(family);
            is_beginning || suffix.is_some_and(|rest| matches!(rest, "" | "_bucket"))
        });
        assert!(is_served, "{name} is not served:\n{served}");
    }
    let refused =
        "mcp_plugin_plans_refused_total{plugin=\"hostile-breaker\",kind=\"breaker-policy\"} 1";
    assert!(served.contains(refused), "{served}");
    router.end().await;
}
