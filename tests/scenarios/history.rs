//! What happened to a router, its instances and its plugins is in its events and its history, with the reasons, and outlives the
//! router.

use std::{fs, time::Duration};

use reqwest::Response;
use router_tests::{Config, Router, peers, until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

/// A router whose policy has the instance recycled again and again.
fn config(mode: &str) -> Config {
    Config::new()
        .set("health", "disk_share = 1.0")
        .set("health", "interval = \"100ms\"")
        .set("policy", "health = \"hostile-health\"")
        .set(
            "plugins.config.hostile-health",
            &format!("mode = \"{mode}\""),
        )
        .server(peers::echo().autostart())
}

/// The rows that fit, newest first, once there are any.
async fn rows(router: &Router, query: &str, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    until(&format!("a row of {query}"), SOON, async || {
        let page = router.get(&format!("/api/history?{query}")).await;
        let rows = page["rows"].as_array().unwrap().clone();
        if rows.iter().any(&wanted) {
            Ok(rows)
        } else {
            Err(format!("{page}\n{}", router.tail()))
        }
    })
    .await
}

/// A stream of events with the last id that it gave.
struct Events {
    response: Response,
    text: String,
}

impl Events {
    async fn listen(router: &Router, last: Option<&str>) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client.get(router.url("/api/events"));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        Self {
            response: request.send().await.unwrap(),
            text: String::new(),
        }
    }

    /// Reads until an event is as wanted; the ids so far, and whether something was missed.
    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Vec<String> {
        loop {
            let data = self
                .text
                .lines()
                .filter_map(|line| line.strip_prefix("data: "));
            let mut data = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
            if data.any(|event| wanted(&event)) {
                let ids = self
                    .text
                    .lines()
                    .filter_map(|line| line.strip_prefix("id: "));
                return ids.map(str::to_owned).collect();
            }
            let chunk = tokio::time::timeout(SOON, self.response.chunk()).await;
            let chunk = chunk.unwrap_or_else(|_| panic!("it did not come: {}", self.text));
            let chunk = chunk
                .unwrap()
                .unwrap_or_else(|| panic!("the end: {}", self.text));
            self.text.push_str(&String::from_utf8_lossy(&chunk));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_is_shown_with_its_reason_also_by_the_next_router() {
    let mut router = Router::prepared(&config("condemn"), &[]);
    let guest = peers::guest("hostile-health.wasm");
    fs::copy(guest, router.path("plugins/hostile-health.wasm")).unwrap();
    router.start_again().await;
    let mut events = Events::listen(&router, None).await;

    // A recycle, and the policy's reason for it.
    let is_recycle = |row: &Value| row["axis"] == "lifecycle" && row["to"] == "draining";
    let recycled = rows(&router, "instance=echo", is_recycle).await;
    let recycle = recycled.iter().find(|row| is_recycle(row)).unwrap();
    let reason = recycle["reason"].as_str().unwrap();
    assert!(reason.contains("condemned"), "{recycle}");
    assert_eq!(recycle["versionId"], "echo");

    // A plugin, and the configuration.
    router.write_config(&config("count"));
    router.post("/api/config/reload").await;
    let swapped = |row: &Value| row["plugin"] == "hostile-health" && row["to"] == "serving";
    rows(&router, "axis=plugin", swapped).await;
    let applied = |row: &Value| row["to"] == "applied";
    rows(&router, "axis=config", applied).await;
    let heard = events.until(applied).await;
    let last = heard.last().unwrap().clone();

    // Killed: what it recorded is there, and the listener that comes back hears of what it missed.
    let before = router.get("/api/history?limit=1000").await;
    drop(events);
    router.kill().await;
    router.start_again().await;
    router.ready("echo").await;
    let started = |row: &Value| row["axis"] == "router" && row["to"] == "started";
    let after = rows(&router, "limit=1000", |row| {
        started(row) && row["id"] != before["rows"][0]["id"]
    })
    .await;
    let ids = |rows: &[Value]| -> Vec<String> {
        let ids = rows.iter().map(|row| row["id"].as_str().unwrap());
        ids.map(str::to_owned).collect()
    };
    let (before, after) = (ids(before["rows"].as_array().unwrap()), ids(&after));
    assert!(after.ends_with(&before), "{after:?}, and before {before:?}");
    let mut events = Events::listen(&router, Some(&last)).await;
    let heard = events.until(started).await;
    assert!(!events.text.contains("missed"), "{}", events.text);
    let position = after.iter().position(|id| *id == last).unwrap();
    let mut missed = after[..position].to_vec();
    missed.reverse();
    assert!(
        missed.starts_with(&heard) || heard.starts_with(&missed),
        "{heard:?}, and it missed {missed:?}"
    );
    let times = router.get("/api/audit?limit=1").await;
    assert_ne!(times["rows"][0]["at"], json!(null));
    router.end().await;
}
