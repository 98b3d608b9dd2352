//! What dies: the router under load, a shim, a child, both, a server that does not want to. What is to live lives on, what is to
//! come back comes back, and nobody is left behind.

use std::time::Duration;

use router_tests::{Config, Load, Router, Session, load::Plan, peers, pid_of, processes, until};
use rustix::process::Signal;
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

fn config() -> Config {
    // Pauses short enough for a test; the order of things is the same.
    Config::new()
        .set("instances.restart", "initial = \"200ms\"")
        .server(peers::echo().autostart().with("on_router_exit = \"keep\""))
        .server(
            peers::scripted(&[])
                .autostart()
                .with("on_router_exit = \"keep\""),
        )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_router_comes_back_to_the_same_processes_and_sessions() {
    let mut router = Router::start(&config()).await;
    let echo = pid_of(&router.ready("echo").await);
    let scripted = pid_of(&router.ready("scripted").await);
    let mut session = router.session("scripted").await;
    assert_eq!(session.call("pid", &json!({})).await, scripted.to_string());

    let plan = Plan::clients(16).paused(Duration::from_millis(1));
    let load = Load::start(router.address(), "/mcp/echo", &plan).await;
    load.further(500, SOON).await;
    for round in 1..=3 {
        router.kill().await;
        for pid in [echo, scripted] {
            assert!(
                processes::is_alive(pid),
                "round {round}: {pid} died with its router"
            );
        }
        // What was in flight is lost, and each client notices that once. Nothing after that may be.
        until("every client to notice", SOON, async || {
            match load.connected() {
                0 => Ok(()),
                connected => Err(format!("{connected} have not")),
            }
        })
        .await;
        load.forgive();
        router.start_again().await;
        assert_eq!(
            pid_of(&router.ready("echo").await),
            echo,
            "round {round}\n{}",
            router.tail()
        );
        assert_eq!(
            pid_of(&router.ready("scripted").await),
            scripted,
            "round {round}"
        );
        load.further(500, SOON).await;
        assert_eq!(
            session.call("pid", &json!({})).await,
            scripted.to_string(),
            "round {round}"
        );
        let (failed, failures) = load.failed();
        assert_eq!(failed, 0, "round {round}: {failures:#?}\n{}", router.tail());
    }
    load.stop().await;
    assert_eq!(router.instance("echo").await["restarts"], 0);
    router.end().await;
}

/// What a process has given to the system to write so far, in bytes (proc(5), `io`).
fn written(pid: i32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let figure = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    figure.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_killed_in_the_middle_of_a_megabyte_leaves_servers_that_still_understand() {
    let project = tempfile::tempdir().unwrap();
    peers::copy_project("demo", project.path());
    let servers = [
        peers::echo().named("echo"),
        peers::bundled(project.path()).named("bundled"),
        peers::everything().named("everything"),
    ];
    let mut config = Config::new();
    for server in servers {
        config = config.server(server.autostart().with("on_router_exit = \"keep\""));
    }
    let mut router = Router::start(&config).await;
    for id in ["echo", "bundled", "everything"] {
        let pid = pid_of(&router.ready(id).await);
        let mut session = router.session(id).await;
        let tools = session.ask("tools/list", &json!({})).await;
        // It does not read, so that a pipe's worth of the line is written and the rest waits.
        processes::signal(pid, Signal::STOP);
        let before = written(router.pid());
        let message = json!({"jsonrpc": "2.0", "id": 77, "method": "tools/call",
            "params": {"name": "echo", "arguments": {"message": "x".repeat(1 << 20)}}});
        let asking = tokio::spawn({
            let session = session.clone();
            async move { session.try_post(&message).await.is_ok() }
        });
        until("the line to be half written", SOON, async || {
            match written(router.pid()) - before {
                65_536.. => Ok(()),
                bytes => Err(format!("{bytes} bytes")),
            }
        })
        .await;
        router.kill().await;
        assert!(!asking.await.unwrap(), "{id}: it was answered");
        processes::signal(pid, Signal::CONT);
        router.start_again().await;
        assert_eq!(
            pid_of(&router.ready(id).await),
            pid,
            "{id}\n{}",
            router.tail()
        );
        assert_eq!(
            session.ask("tools/list", &json!({})).await["result"],
            tools["result"],
            "{id}"
        );
        assert_eq!(router.instance(id).await["restarts"], 0, "{id}");
    }
    router.end().await;
}

/// Longer than an instance may take to answer the first ping of a new router, or any (`socket_timeout`, `health.ping_timeout`: 5 s).
const BUSY: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_busy_while_its_router_dies_is_waited_for() {
    let mut router = Router::start(&config()).await;
    let pid = pid_of(&router.ready("scripted").await);
    let mut session = router.session("scripted").await;
    processes::signal(pid, Signal::STOP);
    router.kill().await;
    router.start_again().await;
    let asking = tokio::spawn({
        let mut session = session.clone();
        async move { session.try_call("pid", &json!({})).await }
    });
    tokio::time::sleep(BUSY).await;
    assert!(processes::is_alive(pid), "{}", router.tail());
    processes::signal(pid, Signal::CONT);
    let one = router.ready("scripted").await;
    assert_eq!(pid_of(&one), pid, "{}", router.tail());
    let asked = asking.await.unwrap();
    let text = &asked["result"]["content"][0]["text"];
    assert_eq!(*text, pid.to_string(), "what came meanwhile: {asked}");
    assert_eq!(session.call("pid", &json!({})).await, pid.to_string());
    let one = router.instance("scripted").await;
    assert_eq!(one["restarts"], 0, "{one}");
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_ends_keeps_what_is_to_be_kept_and_stops_the_rest() {
    let config = Config::new()
        .server(peers::echo().autostart().with("on_router_exit = \"keep\""))
        .server(
            peers::scripted(&[])
                .autostart()
                .with("on_router_exit = \"stop\""),
        );
    let mut router = Router::start(&config).await;
    let kept = pid_of(&router.ready("echo").await);
    let stopped = pid_of(&router.ready("scripted").await);
    let status = router.terminate().await;
    assert!(status.success(), "{status}\n{}", router.tail());
    router.gone(&[stopped]).await;
    assert!(processes::is_alive(kept), "{}", router.tail());
    router.start_again().await;
    assert_eq!(pid_of(&router.ready("echo").await), kept);
    router.end().await;
}

/// Kills something of the scripted instance, with a request in flight, a daemon forked off and another instance under load.
async fn kill_and_recover(what: &str, victims: impl Fn(i32) -> Vec<i32>) {
    let router = Router::start(&config()).await;
    router.ready("echo").await;
    let before = pid_of(&router.ready("scripted").await);
    let plan = Plan::clients(4).paused(Duration::from_millis(2));
    let load = Load::start(router.address(), "/mcp/echo", &plan).await;
    let mut session = router.session("scripted").await;
    let daemon: i32 = session.call("fork", &json!({})).await.parse().unwrap();
    assert!(processes::is_alive(daemon), "{what}: no daemon {daemon}");

    let waiting = tokio::spawn({
        let mut session: Session = session.clone();
        async move { session.try_call("hang", &json!({})).await }
    });
    router
        .instance_until("scripted", "busy", SOON, |one| one["inFlight"] == 1)
        .await;
    for victim in victims(before) {
        processes::kill(victim);
    }
    let answer = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    let answer = answer
        .unwrap_or_else(|_| panic!("{what}: the waiting request got no answer"))
        .unwrap();
    let message = answer["error"]["message"]
        .as_str()
        .unwrap_or_else(|| panic!("{what}: {answer}"));
    assert!(
        message.contains("scripted"),
        "{what}: the error does not name the instance: {message}"
    );

    let after = router.ready_anew("scripted", before).await;
    assert_eq!(
        session.call("pid", &json!({})).await,
        pid_of(&after).to_string()
    );
    router.gone(&[before, daemon]).await;
    load.stop().await.assert_clean(100);
    router.end().await;
}

fn shim_of(child: i32) -> i32 {
    processes::parent(child).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_child_comes_back_and_leaves_nobody_behind() {
    kill_and_recover("child", |child| vec![child]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_shim_comes_back_and_leaves_nobody_behind() {
    kill_and_recover("shim", |child| vec![shim_of(child)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shim_and_its_child_killed_at_once_come_back_and_leave_nobody_behind() {
    kill_and_recover("both", |child| vec![shim_of(child), child]).await;
    kill_and_recover("both, child first", |child| vec![child, shim_of(child)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_and_a_shim_killed_at_once_leave_nobody_behind() {
    let mut router = Router::start(&config()).await;
    router.ready("echo").await;
    let before = pid_of(&router.ready("scripted").await);
    let mut session = router.session("scripted").await;
    let daemon: i32 = session.call("fork", &json!({})).await.parse().unwrap();
    let shim = shim_of(before);
    router.kill().await;
    processes::kill(shim);
    router.start_again().await;
    router.ready_anew("scripted", before).await;
    router.gone(&[before, daemon]).await;
    assert_ne!(session.call("pid", &json!({})).await, before.to_string());
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ignores_sigterm_is_stopped_all_the_same() {
    let stubborn = peers::scripted(&[]);
    let script = format!("trap '' TERM; exec {}", stubborn.command);
    let server = router_tests::Server::new("stubborn", "sh", ["-c", &script]).autostart();
    let config = Config::new()
        .set("instances.stop", "term = \"500ms\"")
        .server(server);
    let router = Router::start(&config).await;
    let pid = pid_of(&router.ready("stubborn").await);
    let stopped = router.post("/api/instances/stubborn/stop").await;
    assert_eq!(stopped["status"], "stopped", "{stopped}");
    assert!(
        !processes::is_alive(pid),
        "it is said to be stopped and lives"
    );
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_somebody_removed_is_put_back() {
    let router = Router::start(&config()).await;
    let pid = pid_of(&router.ready("echo").await);
    let socket = router.path("s/godot-mcp-echo.sock");
    assert!(socket.exists(), "{}", socket.display());
    std::fs::remove_file(&socket).unwrap();
    until("the socket", Duration::from_secs(60), async || {
        if socket.exists() {
            Ok(())
        } else {
            Err("not there".to_owned())
        }
    })
    .await;
    assert_eq!(pid_of(&router.instance("echo").await), pid);
    router.end().await;
}
