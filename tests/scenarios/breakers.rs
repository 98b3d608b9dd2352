//! Breakers through a whole router: what HALF_OPEN asks of an instance that is frozen before it lets callers in, what is said of
//! several that open together, and a tool that hangs beside others that do not.

use std::time::Duration;

use router_tests::{Config, Router, Session, peers, pid_of, processes, until};
use rustix::process::Signal;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

fn config() -> Config {
    Config::new().set("health", "disk_share = 1.0")
}

fn scripted(id: &str) -> router_tests::Server {
    let server = peers::scripted(&[]).named(id).autostart();
    server.with("request_timeout = \"500ms\"")
}

/// Three calls that are not answered in time.
async fn trip(session: &mut Session, tool: &str) {
    for _ in 0..3 {
        let answer = session.try_call(tool, &json!({})).await;
        assert!(answer["error"].is_object(), "it was answered: {answer}");
    }
}

async fn breaker(router: &Router, state: &'static str, reason: &'static str) -> Value {
    let what = format!("{state}: {reason}");
    router
        .instance_until("frozen", &what, SOON, |one| {
            let breaker = &one["circuitBreaker"];
            let text = breaker["reason"].as_str().unwrap_or_default();
            breaker["state"] == state && text.starts_with(reason)
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_instance_is_asked_before_callers_are_let_in() {
    let config = config()
        .set("breaker", "open = \"500ms\"")
        .server(scripted("frozen"))
        .server(peers::echo().named("well").autostart());
    let router = Router::start(&config).await;
    router.ready("well").await;
    let pid = pid_of(&router.ready("frozen").await);
    let mut session = router.session("frozen").await;
    processes::signal(pid, Signal::STOP);
    trip(&mut session, "echo").await;
    let one = breaker(&router, "HALF_OPEN", "waiting for an answer to a ping").await;
    // The model that reads it learns what happened, and where else to turn.
    let answer = session.try_call("echo", &json!({"text": "x"})).await;
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("Circuit breaker is HALF_OPEN. Retry in 5000ms. Instance frozen: "),
        "{answer}"
    );
    assert!(
        message.ends_with("This request was not sent. Other instances answer: well."),
        "{answer}"
    );
    // Once more it is asked in vain, which changes nothing.
    let later = router
        .instance_until("frozen", "HALF_OPEN for longer than a ping", SOON, |one| {
            one["circuitBreaker"]["sinceMs"].as_u64() > Some(6_000)
        })
        .await;
    assert_eq!(later["circuitBreakerState"], "HALF_OPEN", "{later}");
    let openings = |one: &Value| one["circuitBreaker"]["openings"].clone();
    assert_eq!((openings(&one), openings(&later)), (json!(1), json!(1)));
    processes::signal(pid, Signal::CONT);
    breaker(&router, "HALF_OPEN", "probing after OPEN").await;
    for _ in 0..2 {
        let answer = session.call("echo", &json!({"text": "back"})).await;
        assert_eq!(answer, "back");
    }
    let one = breaker(&router, "CLOSED", "").await;
    assert_eq!(pid_of(&one), pid, "it was not restarted");
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn breakers_that_open_together_are_said_once() {
    const SAID: &str = "3 of 4 circuit breakers are OPEN or HALF_OPEN: more than half opened within 10 s, so they have one cause";
    let ids = ["one", "two", "three"];
    let mut config = config().server(peers::echo().named("well").autostart());
    for id in ids {
        config = config.server(scripted(id));
    }
    let router = Router::start(&config).await;
    router.ready("well").await;
    let mut calls = Vec::new();
    for id in ids {
        router.ready(id).await;
        let mut session = router.session(id).await;
        calls.push(tokio::spawn(
            async move { trip(&mut session, "hang").await },
        ));
    }
    for call in calls {
        call.await.unwrap();
    }
    let shown = async |wanted: bool| {
        until("readiness to say so, or not", SOON, async || {
            let readiness = router.readiness().await;
            let reasons = readiness["reasons"].as_array().cloned().unwrap_or_default();
            if reasons.contains(&json!(SAID)) == wanted {
                Ok(readiness)
            } else {
                Err(readiness.to_string())
            }
        })
        .await
    };
    assert_eq!(shown(true).await["status"], "degraded");
    router
        .logged(&["WARN", "readiness changed", SAID], SOON)
        .await;
    for id in &ids[..2] {
        router
            .post(&format!("/api/instances/{id}/breaker/reset"))
            .await;
    }
    assert_eq!(shown(false).await["status"], "healthy");
    let said = router
        .log()
        .lines()
        .filter(|line| line.contains(SAID))
        .count();
    assert_eq!(said, 1, "{}", router.log());
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_hangs_is_rejected_and_the_others_of_its_server_are_served() {
    let config = config()
        .set("policy", "breaker = \"default-breaker\"")
        .set(
            "plugins.config.default-breaker",
            "tools = \"hang, no_such_*\"",
        )
        .server(scripted("frozen"));
    let mut router = Router::prepared(&config, &[]);
    let file = router.path("plugins/default-breaker.wasm");
    std::fs::copy(peers::bundled_breaker_policy(), file).unwrap();
    router.start_again().await;
    router.ready("frozen").await;
    let tools = async |what: &str, wanted: &dyn Fn(&Value) -> bool| {
        until(what, SOON, async || {
            let tools = router.get("/api/instances/frozen").await["toolBreakers"].clone();
            if wanted(&tools) {
                Ok(tools)
            } else {
                Err(tools.to_string())
            }
        })
        .await
    };
    tools("one tool to be guarded", &|tools| tools["guarded"] == 1).await;
    let mut session = router.session("frozen").await;
    trip(&mut session, "hang").await;
    let shown = tools("it to be OPEN", &|tools| {
        tools["tripped"][0]["state"] == "OPEN"
    })
    .await;
    assert_eq!(shown["tripped"][0]["tool"], "hang", "{shown}");
    router
        .logged(
            &[
                "circuit breaker changed",
                "version_id: frozen",
                "hang",
                "OPEN",
            ],
            SOON,
        )
        .await;
    let answer = session.try_call("hang", &json!({})).await;
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("Circuit breaker is OPEN. Retry in ")
            && message.contains(" Tool hang of instance frozen: 3 requests in a row failed;"),
        "{answer}"
    );
    for _ in 0..20 {
        let answer = session.call("echo", &json!({"text": "served"})).await;
        assert_eq!(answer, "served");
    }
    let one = router.instance("frozen").await;
    assert_eq!(one["circuitBreakerState"], "CLOSED", "{one}");
    let metrics = router.get("/api/metrics/prometheus").await;
    let metrics = metrics.as_str().unwrap();
    let series = "mcp_tool_circuit_breaker_state{instance=\"frozen\",tool=\"hang\"} 2";
    assert!(metrics.contains(series), "{metrics}");
    router.end().await;
}
