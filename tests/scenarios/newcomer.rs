//! What somebody sees who starts the router for the first time, on the configuration that it comes with: `make run` after its build.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helper: what it cannot do ends the test"
)]

use std::fs;

use router_tests::{Config, Router, peers, shell};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_that_comes_with_it_runs_and_its_curl_works() {
    let mut router = Router::prepared(&Config::new().bundled_policy(), &[]);
    let sockets = router.path("s").display().to_string();
    let repository = peers::repository();
    // The same relative paths as in the repository; only the port and the folder of the sockets are the test's own.
    fs::create_dir_all(router.path("plugins/dist")).unwrap();
    fs::copy(
        peers::bundled_policy(),
        router.path("plugins/dist/default-health.wasm"),
    )
    .unwrap();
    peers::copy_project("demo", &router.path("tests/fixtures/godot/demo"));
    fs::copy(repository.join("config/router.toml"), router.config_path()).unwrap();
    router.set_variable("LISTEN", "127.0.0.1:0");
    router.set_variable("GMR_INSTANCES__SOCKET_DIR", &sockets);
    router.start_again().await;

    let demo = router.ready("demo").await;
    assert_eq!(demo["status"], "healthy", "{demo}");
    let output = fs::read_to_string(router.path("output")).unwrap();
    assert!(
        output.contains(&router.address().to_string()),
        "where it listens is not said:\n{output}"
    );
    assert!(
        output.contains("demo"),
        "what it runs is not said:\n{output}"
    );
    let curl = output
        .lines()
        .find_map(|line| Some(&line[line.find("curl ")?..]));
    let curl = curl.unwrap_or_else(|| panic!("no curl to try:\n{output}"));
    let tried = shell::run(&router, curl, &[]).await.fine();
    assert!(!tried.stdout.is_empty(), "{tried:?}");

    let mut session = router.session("demo").await;
    let project = session.try_call("get_project", &json!({})).await;
    assert!(project.to_string().contains("Lantern Keeper"), "{project}");
    assert_eq!(router.readiness().await["database"], "connected");
    let metrics = "curl -s http://localhost:3002/metrics | grep -E '^mcp_(sessions_open|streams_open|router_loop_lag_seconds_count) '";
    let metrics = shell::run(&router, metrics, &[]).await.fine().stdout;
    assert!(metrics.contains("mcp_sessions_open 1\n"), "{metrics}");
    assert!(metrics.contains("mcp_streams_open 0\n"), "{metrics}");
    let plugins = router.get("/api/plugins").await;
    assert!(plugins.to_string().contains("default-health"), "{plugins}");
    router.end().await;
}
