//! A tool of a server hangs: that tool is rejected, and calls of the others take no longer than before.

use std::time::Duration;

use router_tests::{Config, Router, Session, peers, until};
use serde_json::json;
use tokio::task::JoinSet;

use crate::windows::Windows;

const SOON: Duration = Duration::from_secs(30);

/// What is promised is "unchanged"; the rest is what the same clients measure from one time to the next.
const RATIO_MAX: f64 = 1.5;

/// Windows of each kind: many short ones, so that what else the machine does in some of them does not move the median. In each the tool
/// hangs for half of the time, and is rejected for the rest.
const ROUNDS: u32 = 15;
const WINDOW: Duration = Duration::from_millis(700);

/// Clients that call the tool that hangs, all the while, and how long they leave it alone in between.
const CALLERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(100);

/// Whether the tool's own breaker is not CLOSED.
async fn tripped(router: &Router, wanted: bool) {
    until("the tool's breaker", SOON, async || {
        let one = router.get("/api/instances/partly").await;
        let tripped = one["toolBreakers"]["tripped"].as_array().map(Vec::len);
        assert_eq!(one["circuitBreakerState"], "CLOSED", "{one}");
        (tripped == Some(usize::from(wanted)))
            .then_some(())
            .ok_or_else(|| format!("{one}\n{}", router.tail()))
    })
    .await;
}

/// Calls it again and again, until it is aborted.
async fn call(mut session: Session) {
    loop {
        let answer = session.try_call("hang", &json!({})).await;
        assert!(answer["error"].is_object(), "it was answered: {answer}");
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_other_tools_of_its_server_take_no_longer() {
    let server = peers::scripted(&[]).named("partly").autostart();
    let config = Config::new()
        .set("policy", "breaker = \"default-breaker\"")
        .set("plugins.config.default-breaker", "tools = \"hang\"")
        .server(server.with("request_timeout = \"300ms\""));
    let mut router = Router::prepared(&config, &[]);
    let file = router.path("plugins/default-breaker.wasm");
    std::fs::copy(peers::bundled_breaker_policy(), file).unwrap();
    router.start_again().await;
    router.ready("partly").await;
    until("the tool to be guarded", SOON, async || {
        let one = router.get("/api/instances/partly").await;
        let is_guarded = one["toolBreakers"]["guarded"] == 1;
        is_guarded.then_some(()).ok_or(one.to_string())
    })
    .await;
    let mut windows = Windows::begin(&router, "partly").await.each(WINDOW);
    for _ in 0..ROUNDS {
        tripped(&router, false).await;
        windows.add_quiet().await;
        let mut sessions = Vec::new();
        for _ in 0..CALLERS {
            sessions.push(router.session("partly").await);
        }
        let mut callers = JoinSet::new();
        let begin = async || {
            for session in sessions {
                callers.spawn(call(session));
            }
        };
        windows
            .add("a tool that hangs", begin, async || {
                tripped(&router, true).await;
            })
            .await;
        callers.shutdown().await;
        router.post("/api/instances/partly/breaker/reset").await;
    }
    windows.assert_alike(&router, |_| RATIO_MAX).await;
    let one = router.instance("partly").await;
    assert_eq!(one["restarts"], 0, "{one}");
    router.end().await;
}
