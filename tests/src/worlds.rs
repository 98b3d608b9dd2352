//! The states of a router that runbooks describe: all is well, one instance of each kind of trouble, everything is down.

use std::time::Duration;

use serde_json::json;

use crate::{Config, Load, Router, Session, load::Plan, peers};

/// The instance that works.
pub const WELL: &str = "echo";
/// The instance in a crash loop. All digits, so that its `id` in JSON is a number.
pub const LOOPING: &str = "42";
/// The instance that answers nothing in time, until its breaker opens.
pub const SLOW: &str = "7";

const SOON: Duration = Duration::from_secs(60);

fn looping() -> crate::Server {
    peers::scripted(&["--exit", "3"]).named(LOOPING).autostart()
}

fn base() -> Config {
    Config::new()
        // A developer's disk is none of these tests' business.
        .set("health", "disk_share = 1.0")
        .set("instances.restart", "initial = \"200ms\"")
}

/// All is well: one instance, that has answered some requests.
pub async fn well() -> Router {
    let router = Router::start(&base().server(peers::echo().named(WELL).autostart())).await;
    router.ready(WELL).await;
    used(&router).await;
    router
}

async fn used(router: &Router) {
    let path = format!("/mcp/{WELL}");
    let load = Load::start(router.address(), &path, &Plan::clients(4)).await;
    load.further(2_000, SOON).await;
    load.stop().await.assert_clean(2_000);
}

/// Trouble of each kind: one instance works, one is in its crash loop, and of one the breaker has just opened.
pub async fn troubled() -> Router {
    let slow = peers::scripted(&[])
        .named(SLOW)
        .autostart()
        .with("request_timeout = \"500ms\"");
    let config = base()
        .server(peers::echo().named(WELL).autostart())
        .server(looping())
        .server(slow);
    let router = Router::start(&config).await;
    router.ready(WELL).await;
    used(&router).await;
    router
        .instance_until(LOOPING, "in its crash loop", SOON, |one| {
            one["crashLoopDetected"] == true
        })
        .await;
    router.ready(SLOW).await;
    let mut session: Session = router.session(SLOW).await;
    for _ in 0..3 {
        let answer = session.try_call("hang", &json!({})).await;
        assert!(
            answer["error"].is_object(),
            "a call that hangs was answered: {answer}"
        );
    }
    router
        .instance_until(SLOW, "without a closed breaker", SOON, |one| {
            one["circuitBreakerState"] == "OPEN"
        })
        .await;
    // A client that sends what is no request.
    let nonsense = session.post(&json!({"nonsense": true})).await;
    assert_eq!(nonsense.status, 400, "{}", nonsense.text);
    router
}

/// Everything is down: the only instance is in its crash loop.
pub async fn down() -> Router {
    let router = Router::start(&base().server(looping())).await;
    crate::until("readiness to be down", SOON, async || {
        let readiness = router.readiness().await;
        if readiness["status"] == "down" {
            Ok(())
        } else {
            Err(readiness.to_string())
        }
    })
    .await;
    router
}
