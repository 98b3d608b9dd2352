//! A router that comes back finds its instances: same process, same state, nothing noticed by the child.

use std::time::Duration;

use router_core::Run;
use router_supervisor::{ExitCause, LaunchSpec, OnRouterExit, ProcessExit, SupervisorEvent};
use rustix::process::Signal;

use super::{
    harness::{DEADLINE, ROUTER, Yard, key, ponger, sh, until},
    second_process::OtherRouter,
};

#[tokio::test]
async fn a_dropped_router_costs_the_child_nothing() {
    let yard = Yard::new();
    let mut first = yard.router();
    let spec = LaunchSpec {
        spec_digest: "digest-1".into(),
        ..ponger()
    };
    let mut running = first.start("demo", 5, spec).await;
    running.converse("ping", "pong").await;
    first
        .supervisor
        .put_blob(&running.key, running.run, vec![1; 300_000]);
    first
        .supervisor
        .put_blob(&running.key, running.run, b"\x00handshake\xff".to_vec());
    let pid = running.pid;
    first.supervisor.release_all().await;
    drop((first, running));

    let mut second = yard.router();
    let (mut running, blob, digest) = second.adopt_one().await;
    assert_eq!(
        (running.pid, running.run, digest.as_str()),
        (pid, Run(5), "digest-1")
    );
    assert_eq!(blob.as_deref(), Some(&b"\x00handshake\xff"[..]));
    running.converse("ping", "pong").await;
    second
        .supervisor
        .put_blob(&running.key, running.run, b"another".to_vec());
    second.supervisor.release_all().await;
    drop((second, running));

    let mut third = yard.router();
    let (running, blob, _) = third.adopt_one().await;
    assert_eq!((running.pid, blob), (pid, Some(b"another".to_vec())));
    third.kill(&running).await;
    yard.assert_clean().await;
}

#[tokio::test]
async fn a_router_killed_in_the_middle_is_succeeded_by_the_next() {
    let yard = Yard::new();
    let mut other = OtherRouter::start(yard.path(), ROUTER, "demo");
    yard.until_blob_kept("demo").await;
    other.kill();
    let mut router = yard.router();
    let (mut running, blob, digest) = router.adopt_one().await;
    assert_eq!(
        (running.pid, running.run, digest.as_str()),
        (other.child_pid, Run(41), "d41")
    );
    assert_eq!(blob.as_deref(), Some(&b"left by the other router"[..]));
    running.converse("ping", "pong").await;
    assert_eq!(
        router.kill(&running).await.exit,
        Some(ProcessExit::Signal(9))
    );
    yard.assert_clean().await;
}

#[tokio::test]
async fn what_stood_in_the_pipe_meanwhile_is_still_there() {
    let yard = Yard::new();
    let mut first = yard.router();
    let running = first
        .start(
            "demo",
            1,
            sh("read go; echo said while nobody listened; read wait"),
        )
        .await;
    // An answer asked for by a router that then dies.
    if let router_supervisor::InstanceIo::Stdio { stdin, .. } = &running.io {
        rustix::io::write(stdin, b"go\n").unwrap();
    }
    drop((first, running));
    let mut second = yard.router();
    let (mut running, _, _) = second.adopt_one().await;
    assert_eq!(running.line().await, "said while nobody listened");
    second.kill(&running).await;
    yard.assert_clean().await;
}

#[tokio::test]
async fn an_end_while_no_router_was_there_is_reported_to_the_next() {
    let yard = Yard::new();
    let mut first = yard.router();
    let mut running = first
        .start(
            "demo",
            8,
            sh("echo up; read go; echo 'it hurts' >&2; exit 4"),
        )
        .await;
    assert_eq!(running.line().await, "up");
    let shim = yard.record("demo").shim;
    if let router_supervisor::InstanceIo::Stdio { stdin, .. } = &running.io {
        rustix::io::write(stdin, b"go\n").unwrap();
    }
    drop((first, running));
    until("the shim to have ended by itself", || !shim.alive()).await;
    let mut second = yard.router();
    let (events, adopted) = second.adopt().await;
    let [
        SupervisorEvent::Exited {
            key: seen,
            run,
            exit,
        },
    ] = events.as_slice()
    else {
        panic!("{events:?}")
    };
    assert_eq!((adopted, seen, *run), (0, &key("demo"), Run(8)));
    assert_eq!(
        (exit.exit, exit.cause),
        (Some(ProcessExit::Code(4)), ExitCause::Own)
    );
    assert_eq!(exit.stderr_tail, ["it hurts"]);
    yard.assert_clean().await;
}

#[tokio::test]
async fn stop_at_router_exit_waits_for_a_router_to_come_back_and_then_stops() {
    let yard = Yard::new();
    let spec = || LaunchSpec {
        on_router_exit: OnRouterExit::Stop,
        ..ponger()
    };
    let patient = |config: &mut router_supervisor::SupervisorConfig| {
        config.router_exit_grace = DEADLINE * 100;
    };
    let mut first = yard.router_with(patient);
    let returns = first.start("returns", 1, spec()).await;
    let pid = returns.pid;
    drop((first, returns));
    let mut second = yard.router();
    let (mut running, _, _) = second.adopt_one().await;
    assert_eq!(running.pid, pid);
    running.converse("ping", "pong").await;
    second.kill(&running).await;

    let keeps = second.start("keeps", 1, ponger()).await;
    let stops = second.start("stops", 2, spec()).await;
    let shim = yard.record("stops").shim;
    drop((second, keeps, stops));
    until("the shim of the one that stops to end", || !shim.alive()).await;
    let mut third = yard.router();
    let (mut events, adopted) = third.adopt().await;
    assert_eq!((events.len(), adopted), (2, 1), "{events:?}");
    events.sort_by_key(|event| matches!(event, SupervisorEvent::Exited { .. }));
    let [
        SupervisorEvent::Adopted { key: kept, run, .. },
        SupervisorEvent::Exited {
            key: stopped, exit, ..
        },
    ] = events.as_slice()
    else {
        panic!("{events:?}")
    };
    assert_eq!((kept, stopped), (&key("keeps"), &key("stops")));
    assert_eq!(exit.cause, ExitCause::RouterGone);
    // Its input ends a moment before the signal comes, and it may leave at that.
    let left = matches!(
        exit.exit,
        Some(ProcessExit::Signal(15) | ProcessExit::Code(0))
    );
    assert!(left, "{exit:?}");
    third.supervisor.kill(&key("keeps"), *run);
    third.exit().await;
    yard.assert_clean().await;
}

#[tokio::test]
async fn a_removed_socket_or_lock_is_put_back_before_it_is_needed() {
    let yard = Yard::new();
    let mut first = yard.router();
    let running = first.start("demo", 1, ponger()).await;
    let pid = running.pid;
    std::fs::remove_file(yard.socket("demo")).unwrap();
    std::fs::remove_file(yard.lock("demo")).unwrap();
    until("socket and lock to be back", || {
        yard.socket("demo").exists() && yard.lock("demo").exists()
    })
    .await;
    drop((first, running));
    let mut second = yard.router();
    let (mut running, _, _) = second.adopt_one().await;
    assert_eq!(running.pid, pid);
    running.converse("ping", "pong").await;
    std::fs::remove_file(yard.socket("demo")).unwrap();
    // Somebody else takes the path: we hold the lock, so it is ours.
    let _squatter = std::os::unix::net::UnixListener::bind(yard.socket("demo")).unwrap();
    let log = || std::fs::read_to_string(yard.path().join("logs/demo.log")).unwrap();
    until("the socket to be bound over the squatter", || {
        log().matches("is bound again").count() == 2
    })
    .await;
    second.kill(&running).await;
    yard.assert_clean().await;
}

#[tokio::test]
async fn an_instance_that_is_being_stopped_is_adopted_as_such() {
    let yard = Yard::new();
    let mut first = yard.router();
    let mut running = first
        .start(
            "demo",
            1,
            sh("trap '' TERM; echo up; while :; do sleep 0.05; done"),
        )
        .await;
    assert_eq!(running.line().await, "up");
    first
        .supervisor
        .stop(&running.key, running.run, Duration::from_secs(600));
    let shim = yard.record("demo").shim;
    // The stop has arrived when the shim has closed its end of stdin; the test holds the other duplicate.
    let pipes = || {
        std::fs::read_dir(format!("/proc/{}/fd", shim.pid))
            .unwrap()
            .flatten()
            .count()
    };
    let before = pipes();
    until("the stop to arrive", || pipes() < before).await;
    drop((first, running));
    let mut second = yard.router();
    let (events, _) = second.adopt().await;
    let [SupervisorEvent::Adopted { adoption, run, .. }] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert!(adoption.io.is_none() && adoption.pid > 0, "{adoption:?}");
    second.supervisor.kill(&key("demo"), *run);
    assert_eq!(second.exit().await.cause, ExitCause::Killed);
    yard.assert_clean().await;
}

#[tokio::test]
async fn an_adopted_run_that_dies_is_reported_like_any_other() {
    let yard = Yard::new();
    let mut first = yard.router();
    let running = first.start("demo", 1, ponger()).await;
    drop((first, running));
    let mut second = yard.router();
    let (running, _, _) = second.adopt_one().await;
    let shim = yard.record("demo").shim;
    assert!(shim.signal(Signal::KILL));
    assert!(matches!(
        second.next().await,
        SupervisorEvent::ShimLost { .. }
    ));
    assert_eq!(second.exit().await.cause, ExitCause::ShimLost);
    let mut again = second.start("demo", 2, ponger()).await;
    assert_ne!(again.pid, running.pid);
    again.converse("ping", "pong").await;
    second.kill(&again).await;
    yard.assert_clean().await;
}
