//! Definitions that come, go and change while a router runs: by the file, by `/api`, by both; and what operators decided about
//! them, which holds for the next router too.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use router_tests::{Config, Router, Session, peers, pid_of, processes, until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Something happens that takes no more than a start of an echo.
const SOON: Duration = Duration::from_secs(30);

/// A template for the echo and for the scripted server, without instances.
fn templates(name: &str) -> String {
    let echo = peers::program("echo-server").display().to_string();
    let scripted = peers::scripted(&[]).command;
    format!("[template.{name}]\ncommand = {echo:?}\n[template.scripted]\ncommand = {scripted:?}\n")
}

/// With a router that sees within moments what is in flight.
fn sampled_often() -> Config {
    Config::new().set("instances", "memory_interval = \"100ms\"")
}

/// The newest row about an action, once it has reached the database.
async fn audited(router: &Router, action: &str) -> Value {
    until(&format!("a row about {action}"), SOON, async || {
        let page = router.get(&format!("/api/audit?action={action}")).await;
        let row = &page["rows"][0];
        row.is_object()
            .then(|| row.clone())
            .ok_or_else(|| page.to_string())
    })
    .await
}

async fn register(router: &Router, definition: &Value) -> (StatusCode, Value) {
    router
        .ask(Method::POST, "/api/instances", Some(definition))
        .await
}

async fn reload(router: &Router, config: &Config) -> (StatusCode, Value) {
    router.write_config(config);
    router.ask(Method::POST, "/api/config/reload", None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_the_file_and_the_api_define_is_the_files_for_as_long_as_it_names_it() {
    let without = Config::new().tail(&templates("echo"));
    let both = without.clone().server(peers::scripted(&[]).named("both"));
    let mut router = Router::start(&without).await;
    let definition = json!({"id": "both", "template": "echo", "autostart": true});
    let (status, body) = register(&router, &definition).await;
    assert_eq!(status, 201, "{body}");
    let registered = router.ready("both").await;
    assert_eq!(registered["source"], "api");

    // The file takes it over, with another program, whether it is read again …
    let (status, report) = reload(&router, &both).await;
    assert_eq!(
        (status, &report["added"]),
        (StatusCode::OK, &json!(["both"]))
    );
    let is_the_files = |one: &Value| one["source"] == "config";
    router
        .instance_until("both", "the file's", SOON, is_the_files)
        .await;
    let mut session = router.session("both").await;
    assert!(session.call("pid", &json!({})).await.parse::<u32>().is_ok());
    let (status, refused) = router
        .ask(Method::DELETE, "/api/instances/both", None)
        .await;
    assert_eq!(status, 409, "{refused}");
    // … or the router begins with it.
    router.terminate().await;
    router.start_again().await;
    assert_eq!(router.instance("both").await["source"], "config");
    let mut session = router.session("both").await;
    assert!(session.call("pid", &json!({})).await.parse::<u32>().is_ok());

    // What was registered is there again once the file drops it.
    let (status, report) = reload(&router, &without).await;
    assert_eq!(
        (status, &report["removed"]),
        (StatusCode::OK, &json!(["both"]))
    );
    let is_registered = |one: &Value| one["source"] == "api" && one["lifecycle"] == "ready";
    router
        .instance_until("both", "registered again", SOON, is_registered)
        .await;
    let (status, body) = router
        .ask(Method::DELETE, "/api/instances/both", None)
        .await;
    assert_eq!(status, 204, "{body}");
    until("it to be gone", SOON, async || {
        let fleet = router.get("/api/health/mcp").await;
        (fleet["summary"]["totalInstances"] == 0)
            .then_some(())
            .ok_or_else(|| fleet.to_string())
    })
    .await;
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_registered_instances_do_not_fit_is_refused() {
    let router = Router::start(&Config::new().tail(&templates("echo"))).await;
    let definition = json!({"id": "mine", "template": "echo", "autostart": true});
    let (status, body) = register(&router, &definition).await;
    assert_eq!(status, 201, "{body}");
    let before = router.ready("mine").await;
    let (status, refused) = reload(&router, &Config::new().tail(&templates("renamed"))).await;
    assert_eq!(status, 422, "{refused}");
    let fault = refused["faults"][0].as_str().unwrap();
    assert!(
        fault.contains("mine") && fault.contains("echo"),
        "{refused}"
    );
    assert_eq!(pid_of(&router.instance("mine").await), pid_of(&before));
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_may_be_registered_again_while_its_last_request_is_answered() {
    let config = sampled_often().tail(&templates("echo"));
    let router = Router::start(&config).await;
    let definition = json!({"id": "again", "template": "scripted"});
    assert_eq!(register(&router, &definition).await.0, 201);
    let mut session = router.session("again").await;
    let call = tokio::spawn(async move { session.call("slow", &json!({"ms": 2_000})).await });
    router
        .instance_until("again", "at work", SOON, |one| one["inFlight"] == 1)
        .await;
    let (status, body) = router
        .ask(Method::DELETE, "/api/instances/again", None)
        .await;
    assert_eq!(status, 204, "{body}");
    let (status, body) = register(&router, &definition).await;
    assert_eq!(status, 201, "{body}");
    call.await.unwrap();
    router.session("again").await.call("pid", &json!({})).await;
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_holds_for_the_next_router_also_when_this_one_dies_before_it_is_done() {
    let server = peers::scripted(&[]).with("drain = \"30s\"").autostart();
    let mut router = Router::start(&sampled_often().server(server)).await;
    let pid = pid_of(&router.ready("scripted").await);
    let mut session = router.session("scripted").await;
    let call = tokio::spawn(async move { session.try_call("hang", &json!({})).await });
    router
        .instance_until("scripted", "at work", SOON, |one| one["inFlight"] == 1)
        .await;
    let stop = reqwest::Client::builder().no_proxy().build().unwrap();
    let stop = stop.post(router.url("/api/instances/scripted/stop"));
    let stop = tokio::spawn(async move { stop.send().await.is_ok() });
    router
        .instance_until("scripted", "draining", SOON, |one| {
            one["lifecycle"] == "draining"
        })
        .await;
    router.kill().await;
    assert!(!stop.await.unwrap(), "nobody is left to answer");
    call.abort();
    router.start_again().await;
    router
        .instance_until("scripted", "stopped", SOON, |one| {
            one["lifecycle"] == "stopped"
        })
        .await;
    // It is stopped from the first moment; its process is, once the router has found it.
    router.gone(&[pid]).await;
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_holds_for_the_next_router_also_when_its_first_try_fails() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("later");
    let mut server = peers::echo().autostart();
    let echo = std::mem::replace(&mut server.command, program.display().to_string());
    let config = Config::new()
        .set("instances.crash_loop", "same_signature = 100")
        .set("instances.crash_loop", "failures = 100")
        .server(server);
    let mut router = Router::start(&config).await;
    router.post("/api/instances/echo/stop").await;
    let (status, body) = router
        .ask(Method::POST, "/api/instances/echo/start", None)
        .await;
    assert_eq!(status, 502, "{body}");
    std::os::unix::fs::symlink(&echo, &program).unwrap();
    router.ready("echo").await;
    router.kill().await;
    router.start_again().await;
    router.ready("echo").await;
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_request_timeout_reaches_connections_that_are_there() {
    let with = |timeout: &str| {
        let server = peers::scripted(&[]).with(&format!("request_timeout = {timeout:?}"));
        Config::new().server(server.autostart())
    };
    let router = Router::start(&with("5m")).await;
    let before = pid_of(&router.ready("scripted").await);
    let mut session = router.session("scripted").await;
    let (status, report) = reload(&router, &with("300ms")).await;
    assert_eq!(status, 200, "{report}");
    let answer = session.try_call("hang", &json!({})).await;
    assert_eq!(answer["error"]["code"], -32001, "{answer}");
    assert_eq!(pid_of(&router.instance("scripted").await), before);
    let row = audited(&router, "config.reload").await;
    let detail = row["detail"].as_str().unwrap();
    assert!(detail.contains("changed: scripted"), "{row}");
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugin_settings_that_a_plugin_refuses_are_in_the_answer_to_the_reload() {
    let with = |limit: &str| {
        let line = format!("memory_degraded_mb = {limit}");
        Config::new()
            .bundled_policy()
            .set("plugins.config.default-health", &line)
    };
    let router = Router::start(&with("500")).await;
    let serves = async || {
        let plugin = router.get("/api/plugins/default-health").await;
        let is_serving = plugin["state"] == "serving";
        is_serving
            .then(|| plugin["generation"].clone())
            .ok_or_else(|| plugin.to_string())
    };
    let before = until("the policy to serve", SOON, serves).await;
    let (status, report) = reload(&router, &with("-5")).await;
    assert_eq!(status, 200, "{report}");
    let refused = report["refusedPlugins"]["default-health"].as_str();
    assert!(
        refused.is_some_and(|reason| reason.contains("memory_degraded_mb")),
        "{report}"
    );
    assert_eq!(serves().await, Ok(before));
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_in_a_definition_takes_more_than_an_operator() {
    let config = Config::new().tail(&templates("echo"));
    let router = Router::start(&config).await;
    let definition = json!({"id": "x", "template": "echo", "env": {"LD_PRELOAD": "/tmp/x.so"}});
    let (status, refused) = register(&router, &definition).await;
    assert_eq!(status, 403, "{refused}");
    assert!(
        refused["detail"].as_str().unwrap().contains("admin"),
        "{refused}"
    );
    let row = audited(&router, "instance.register").await;
    assert_eq!(row["result"], "refused", "{row}");
    let as_admin = config.set("server", "loopback_roles = [\"client\", \"admin\"]");
    assert_eq!(reload(&router, &as_admin).await.0, 200);
    let definition = json!({"id": "x", "template": "echo", "env": {"COLOUR": "none"}});
    let (status, body) = register(&router, &definition).await;
    assert_eq!(status, 201, "{body}");
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_loses_a_right_loses_the_streams_that_it_opened() {
    let open = Config::new().server(peers::echo().autostart());
    let router = Router::start(&open).await;
    router.ready("echo").await;
    let session = router.session("echo").await;
    let mut stream = session.request(Method::GET).send().await.unwrap();
    let events = reqwest::Client::builder().no_proxy().build().unwrap();
    let events = events.get(router.url("/api/events")).send().await.unwrap();
    assert_eq!(
        (stream.status(), events.status()),
        (StatusCode::OK, StatusCode::OK)
    );
    let closed = open.set("server", "loopback_roles = [\"operator\"]");
    assert_eq!(reload(&router, &closed).await.0, 200);
    let ended = async {
        while stream.chunk().await.unwrap().is_some() {}
        events.bytes().await.is_ok()
    };
    assert!(tokio::time::timeout(SOON, ended).await.unwrap());
    let again = session.request(Method::GET).send().await.unwrap();
    assert_eq!(again.status(), 401);
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_waits_for_nobody_who_only_listens() {
    let mut router = Router::start(&Config::new().server(peers::echo().autostart())).await;
    router.ready("echo").await;
    let session = router.session("echo").await;
    let stream = session.request(Method::GET).send().await.unwrap();
    let events = reqwest::Client::builder().no_proxy().build().unwrap();
    let events = events.get(router.url("/api/events")).send().await.unwrap();
    router.post("/api/instances/echo/stop").await;
    assert!(router.terminate().await.success());
    assert!(
        !router
            .log()
            .contains("connections were still open at the end"),
        "{}",
        router.tail()
    );
    assert!(stream.bytes().await.is_ok() && events.bytes().await.is_ok());
    router.assert_nothing_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_come_costs_its_sender_the_connection() {
    let config = Config::new().set("server", "body_timeout = \"1s\"");
    let router = Router::start(&config).await;
    let head = "POST /api/instances HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let answer = tokio::time::timeout(SOON, async {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut socket = tokio::net::TcpStream::connect(router.address())
            .await
            .unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 1024];
        let read = socket.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..read]).into_owned()
    });
    let answer = answer.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ended_while_no_router_was_there_leaves_its_evidence() {
    let mut router = Router::start(&Config::new().server(peers::scripted(&[]))).await;
    let mut session: Session = router.session("scripted").await;
    session.call("stderr", &json!({"lines": 3})).await;
    let pid = pid_of(&router.ready("scripted").await);
    router.kill().await;
    processes::signal(pid, Signal::ABORT);
    until("its end", SOON, async || {
        (!processes::is_alive(pid))
            .then_some(())
            .ok_or_else(|| "it lives".to_owned())
    })
    .await;
    router.start_again().await;
    let crashes = until("its evidence", SOON, async || {
        let crashes = router.get("/api/instances/scripted/crashes").await;
        let is_there = crashes["crashes"][0].is_object();
        is_there
            .then(|| crashes.clone())
            .ok_or_else(|| crashes.to_string())
    })
    .await;
    let newest = &crashes["crashes"][0];
    assert_eq!(newest["signal"], 6, "{crashes}");
    let reason = newest["reason"].as_str().unwrap();
    assert!(reason.contains("while no router was there"), "{reason}");
    let tail = newest["stderrTail"].to_string();
    assert!(tail.contains("line 2 of a flood"), "{crashes}");
    router.end().await;
}
