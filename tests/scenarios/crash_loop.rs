//! A real server that dies at once, PyPI `mcp-server-sqlite` beside an `mcp` that is too new for it, next to one that works.

use std::time::Duration;

use reqwest::Method;
use router_tests::{Config, Load, Router, load::Plan, peers};

/// The configured window; the loop must be seen within it.
const WINDOW: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_at_once_is_held_in_its_crash_loop_with_evidence() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::new()
        .set(
            "instances.crash_loop",
            &format!("window = \"{}s\"", WINDOW.as_secs()),
        )
        .set("instances.crash_loop", "failures = 4")
        .set("instances.restart", "initial = \"500ms\"")
        .server(peers::echo().autostart())
        .server(
            // It dies by itself; on a busy machine an interpreter may take longer to come to that than a handshake may.
            peers::sqlite(folder.path())
                .with("spawn_timeout = \"30s\"")
                .with("socket_timeout = \"30s\"")
                .autostart(),
        );
    let router = Router::start(&config).await;
    let echo = router.ready("echo").await;
    let plan = Plan::clients(4).paused(Duration::from_millis(2));
    let load = Load::start(router.address(), "/mcp/echo", &plan).await;

    let one = router
        .instance_until("sqlite", "in its crash loop", WINDOW, |one| {
            one["crashLoopDetected"] == true
        })
        .await;
    assert_eq!(one["lifecycle"], "crash_loop", "{one}");
    assert_eq!(one["status"], "unhealthy", "{one}");
    let summary = router.get("/api/health/mcp").await["summary"].clone();
    assert_eq!(summary["crashLoopInstances"], 1, "{summary}");
    assert_eq!(summary["unhealthyInstances"], 1, "{summary}");
    assert_eq!(summary["healthyInstances"], 1, "{summary}");
    assert_eq!(router.readiness().await["status"], "degraded");

    let crashes = router.get("/api/instances/sqlite/crashes").await;
    let newest = &crashes["crashes"][0];
    let text = newest.to_string();
    assert!(
        text.contains("AttributeError") && text.contains("list_resources"),
        "no stderr tail in {crashes}"
    );
    assert!(
        crashes["crashes"].as_array().unwrap().len() >= 3,
        "{crashes}"
    );
    let (_, logs) = router
        .ask(Method::GET, "/api/instances/sqlite/logs?tail=50", None)
        .await;
    assert!(logs.to_string().contains("AttributeError"), "{logs}");
    router
        .logged(
            &[
                "Instance has exceeded max restart attempts. Entering crash loop protection.",
                "version_id: sqlite",
            ],
            Duration::from_secs(5),
        )
        .await;

    // A client gets the reason at once, and does not wait.
    let asked = router_tests::Session::new(&router.mcp_url("sqlite"))
        .post(&router_tests::mcp::initialize(1))
        .await;
    let message = asked.response()["error"]["message"].to_string();
    assert!(
        message.contains("sqlite"),
        "{} {}",
        asked.status,
        asked.text
    );

    // An operator may start over, by clearing its state and by a restart: the loop is seen anew each time.
    let looping = async |what: &str| {
        router
            .instance_until("sqlite", what, WINDOW, |one| {
                one["crashLoopDetected"] == true
            })
            .await
    };
    let (status, cleared) = router
        .ask(Method::DELETE, "/api/instances/sqlite/state", None)
        .await;
    assert!(status.is_success(), "{status} {cleared}");
    assert_eq!(
        router.get("/api/instances/sqlite/crashes").await["crashes"],
        serde_json::json!([])
    );
    looping("in its crash loop after its state was cleared").await;
    // The answer is there as soon as there is a process, which takes longer to fail.
    let (status, restarted) = router
        .ask(Method::POST, "/api/instances/sqlite/restart", None)
        .await;
    assert_eq!(status, 200, "{restarted}");
    assert_eq!(restarted["crashLoopDetected"], false, "{restarted}");
    looping("in its crash loop after a restart").await;

    load.stop().await.assert_clean(500);
    let after = router.instance("echo").await;
    assert_eq!(after["pid"], echo["pid"], "the other one was disturbed");
    assert_eq!(after["restarts"], 0, "{after}");
    router.end().await;
}
