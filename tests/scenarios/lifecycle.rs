//! An instance from its start to its end through a whole router: stopped for lack of use and started on the next, recycled and killed
//! for its memory, stopped and restarted by an operator in the middle of a request, reached by a socket of its own, and back with fewer
//! tools than before.

use std::{fs, time::Duration};

use router_tests::{Config, Router, Server, Session, mcp, peers, pid_of, processes};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

fn config(server: Server) -> Config {
    Config::new()
        .set("health", "disk_share = 1.0")
        // What is in flight, and how much memory is in use, is seen at the next sample.
        .set("instances", "memory_interval = \"100ms\"")
        .set("instances.restart", "initial = \"200ms\"")
        .server(server)
}

/// Waits for an instance that does not run, and looks whether its process is gone.
async fn down(router: &Router, lifecycle: &str, pid: i32) -> Value {
    let one = router
        .instance_until("scripted", lifecycle, SOON, |one| {
            one["lifecycle"] == lifecycle
        })
        .await;
    assert_eq!(one["pid"], Value::Null, "{one}");
    assert!(!processes::is_alive(pid), "{pid} lives: {one}");
    one
}

async fn busy(router: &Router) -> Value {
    router
        .instance_until("scripted", "busy", SOON, |one| one["inFlight"] == 1)
        .await
}

/// A call in the background, with a copy of the session.
fn calling(
    session: &Session,
    tool: &'static str,
    arguments: Value,
) -> tokio::task::JoinHandle<Value> {
    let mut session = session.clone();
    tokio::spawn(async move { session.try_call(tool, &arguments).await })
}

fn text(answer: &Value) -> &str {
    let text = answer["result"]["content"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("no text in {answer}"))
}

fn error_message(answer: &Value) -> &str {
    let message = answer["error"]["message"].as_str();
    message.unwrap_or_else(|| panic!("no error in {answer}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_is_stopped_for_lack_of_use_and_started_on_the_next() {
    let server = peers::scripted(&[]).with("idle_timeout = \"1s\"");
    let router = Router::start(&config(server)).await;
    assert_eq!(router.instance("scripted").await["lifecycle"], "idle");
    let mut session = router.session("scripted").await;
    let first = pid_of(&router.ready("scripted").await);

    // A request that waits for its answer is use, however long that takes.
    assert_eq!(session.call("slow", &json!({"ms": 3_000})).await, "at last");
    assert_eq!(
        session.call("pid", &json!({})).await,
        first.to_string(),
        "it was stopped in the middle of a call"
    );
    let idle = down(&router, "idle", first).await;
    assert_eq!(idle["status"], "idle", "{idle}");
    assert_eq!(idle["wanted"], false, "{idle}");
    let summary = router.get("/api/health/mcp").await["summary"].clone();
    assert_eq!(summary["idleInstances"], 1, "{summary}");
    assert_eq!(router.readiness().await["status"], "healthy");

    // Several that come at once start it once, in the sessions that they had.
    let calls: Vec<_> = (0..8)
        .map(|_| calling(&session, "pid", json!({})))
        .collect();
    let mut pids = Vec::new();
    for call in calls {
        pids.push(text(&call.await.unwrap()).to_owned());
    }
    pids.dedup();
    assert_eq!(pids.len(), 1, "{pids:?}");
    let second = pids[0].parse().unwrap();
    assert_ne!(first, second);
    let idle = down(&router, "idle", second).await;
    assert_eq!(idle["restarts"], 0, "no use is no failure: {idle}");
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_memory_is_recycled_gently_and_more_is_killed() {
    let server = peers::scripted(&[]).autostart().with("max_memory_mb = 200");
    let router = Router::start(&config(server)).await;
    let first = pid_of(&router.ready("scripted").await);
    let mut session = router.session("scripted").await;

    // Past 90 %, and below 100 %: what is in flight is answered, what comes meanwhile waits for the next process.
    let slow = calling(&session, "slow", json!({"ms": 2_000}));
    busy(&router).await;
    assert_eq!(session.call("grow", &json!({"mb": 185})).await, "grown");
    router
        .logged(
            &["scripted", "recycled", "of 200 MiB memory are in use"],
            SOON,
        )
        .await;
    let second: i32 = session.call("pid", &json!({})).await.parse().unwrap();
    assert_ne!(first, second);
    assert_eq!(text(&slow.await.unwrap()), "at last");
    assert!(!processes::is_alive(first), "{first} lives");
    let one = router.ready("scripted").await;
    assert_eq!(one["restarts"], 1, "{one}");
    assert_eq!(one["lastError"], Value::Null, "{one}");

    // It is not recycled again so soon, but it is said.
    assert_eq!(session.call("grow", &json!({"mb": 185})).await, "grown");
    let one = router
        .instance_until("scripted", "degraded", SOON, |one| {
            one["health"] == "degraded"
        })
        .await;
    let reason = one["reason"].as_str().unwrap();
    assert!(reason.contains("of 200 MiB memory are in use"), "{one}");
    assert_eq!(pid_of(&one), second, "{one}");

    // Past 100 % there is no waiting.
    let hanging = calling(&session, "hang", json!({}));
    busy(&router).await;
    let grown = session.try_call("grow", &json!({"mb": 60})).await;
    assert!(
        grown["result"].is_object() || error_message(&grown).contains("scripted"),
        "{grown}"
    );
    let hanging = hanging.await.unwrap();
    assert!(error_message(&hanging).contains("scripted"), "{hanging}");
    router.ready_anew("scripted", second).await;
    assert!(!processes::is_alive(second), "{second} lives");
    let crashes = router.get("/api/instances/scripted/crashes").await;
    let crashes = crashes["crashes"].as_array().unwrap();
    assert_eq!(crashes.len(), 1, "{crashes:#?}");
    let reason = crashes[0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("of 200 MiB allowed and it was killed"),
        "{crashes:#?}"
    );
    assert!(
        crashes[0].to_string().contains("tools/call"),
        "what was in flight is missing: {crashes:#?}"
    );
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_stops_it_in_the_middle_of_a_request() {
    let router = Router::start(&config(peers::scripted(&[]).autostart())).await;
    let pid = pid_of(&router.ready("scripted").await);
    let mut session = router.session("scripted").await;
    let slow = calling(&session, "slow", json!({"ms": 2_000}));
    busy(&router).await;
    let refused = async |session: &mut Session| {
        let refused = session.try_call("pid", &json!({})).await;
        assert_eq!(
            error_message(&refused),
            "Instance scripted: it was stopped by an operator. It stays so until it is started with POST \
             /api/instances/scripted/start."
        );
        assert_eq!(refused["error"]["data"]["state"], "stopped", "{refused}");
    };
    let meanwhile = async {
        let draining = router
            .instance_until("scripted", "draining", SOON, |one| {
                one["lifecycle"] == "draining"
            })
            .await;
        assert_eq!(pid_of(&draining), pid, "{draining}");
        refused(&mut session).await;
        let unmet = Session::new(&router.mcp_url("scripted"));
        let answer = unmet.post(&mcp::initialize(1)).await;
        assert!(answer.text.contains("stopped by an operator"), "{answer:?}");
        assert!(processes::is_alive(pid), "it was ended before its answer");
    };
    let stop = "/api/instances/scripted/stop";
    let (stopped, ()) = tokio::join!(router.post(stop), meanwhile);
    assert_eq!(stopped["status"], "stopped", "{stopped}");
    assert_eq!(text(&slow.await.unwrap()), "at last");
    down(&router, "stopped", pid).await;
    refused(&mut session).await;
    assert_eq!(router.readiness().await["status"], "healthy");

    let started = router.post("/api/instances/scripted/start").await;
    let answer = session.call("pid", &json!({})).await;
    assert_eq!(answer, pid_of(&started).to_string());
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_restarts_it_in_the_middle_of_a_request() {
    let router = Router::start(&config(peers::scripted(&[]).autostart())).await;
    let before = pid_of(&router.ready("scripted").await);
    let mut session = router.session("scripted").await;
    let slow = calling(&session, "slow", json!({"ms": 2_000}));
    busy(&router).await;
    let meanwhile = async {
        router
            .instance_until("scripted", "draining", SOON, |one| {
                one["lifecycle"] == "draining"
            })
            .await;
        // It waits for the next process, instead of being refused or served by one on its way down.
        session.call("pid", &json!({})).await
    };
    let restart = "/api/instances/scripted/restart";
    let (restarted, served_by) = tokio::join!(router.post(restart), meanwhile);
    let after = pid_of(&restarted);
    assert_ne!(before, after);
    assert_eq!(served_by, after.to_string());
    assert_eq!(text(&slow.await.unwrap()), "at last");
    assert!(!processes::is_alive(before), "{before} lives");
    let one = router.ready("scripted").await;
    assert_eq!(one["lastError"], Value::Null, "{one}");
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_outlasts_the_drain_gets_an_error() {
    let server = peers::scripted(&[]).autostart().with("drain = \"1s\"");
    let router = Router::start(&config(server)).await;
    let pid = pid_of(&router.ready("scripted").await);
    let session = router.session("scripted").await;
    let hanging = calling(&session, "hang", json!({}));
    busy(&router).await;
    let stopped = router.post("/api/instances/scripted/stop").await;
    assert_eq!(stopped["status"], "stopped", "{stopped}");
    let hanging = hanging.await.unwrap();
    let message = error_message(&hanging);
    assert!(
        message.starts_with("Instance scripted: ") && message.contains("stopped by an operator"),
        "{message}"
    );
    down(&router, "stopped", pid).await;
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_listens_itself_is_reached_and_reached_again() {
    let server = peers::scripted(&["--socket"])
        .autostart()
        .with("transport = \"socket\"")
        .with("on_router_exit = \"keep\"");
    let mut router = Router::start(&config(server)).await;
    let pid = pid_of(&router.ready("scripted").await);
    let mut session = router.session("scripted").await;
    assert_eq!(session.call("pid", &json!({})).await, pid.to_string());

    // The process outlives its router; its MCP session is its connection's, and begins anew with the next.
    for round in 1..=2 {
        router.kill().await;
        assert!(processes::is_alive(pid), "round {round}");
        router.start_again().await;
        let one = router.ready("scripted").await;
        assert_eq!(pid_of(&one), pid, "round {round}: {one}");
        let answer = session.call("pid", &json!({})).await;
        assert_eq!(answer, pid.to_string(), "round {round}");
        let one = router.instance("scripted").await;
        assert_eq!(one["restarts"], 0, "round {round}: {one}");
    }

    // Its socket outlives it when it is killed, and is in nobody's way.
    processes::kill(pid);
    let one = router.ready_anew("scripted", pid).await;
    let answer = session.call("pid", &json!({})).await;
    assert_eq!(answer, pid_of(&one).to_string());
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_list_that_shrank_is_reported_until_it_is_whole_or_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let tools = folder.path().join("tools");
    let file = tools.display().to_string();
    let leave = |count: usize| fs::write(&tools, count.to_string()).unwrap();
    leave(6);
    let server = peers::scripted(&["--tools", &file])
        .autostart()
        .with("on_router_exit = \"keep\"");
    let mut router = Router::start(&config(server)).await;
    assert_eq!(router.ready("scripted").await["health"], "healthy");
    leave(4);
    let pid = pid_of(&router.post("/api/instances/scripted/restart").await);
    let shrunken = async |router: &Router, when: &str| {
        let one = router.ready("scripted").await;
        assert_eq!(pid_of(&one), pid, "{when}: {one}");
        assert_eq!(one["health"], "degraded", "{when}: {one}");
        let reason = "tools are missing since its last start: hang, release";
        assert_eq!(one["reason"], reason, "{when}");
        let shown = router.get("/api/instances/scripted").await;
        let missing = &shown["slots"][0]["toolsMissing"];
        assert_eq!(*missing, json!(["hang", "release"]), "{when}: {shown}");
        assert_eq!(router.readiness().await["status"], "degraded", "{when}");
    };
    shrunken(&router, "after a restart").await;
    router.kill().await;
    router.start_again().await;
    shrunken(&router, "after the death of the router").await;

    // Whole again, it is healthy; what an operator accepts is too.
    leave(6);
    router.post("/api/instances/scripted/restart").await;
    assert_eq!(router.ready("scripted").await["health"], "healthy");
    leave(5);
    router.post("/api/instances/scripted/restart").await;
    assert_eq!(router.ready("scripted").await["health"], "degraded");
    let state = "/api/instances/scripted/state";
    router.ask(reqwest::Method::DELETE, state, None).await;
    router
        .instance_until("scripted", "healthy", SOON, |one| {
            one["health"] == "healthy"
        })
        .await;
    router.end().await;
}
