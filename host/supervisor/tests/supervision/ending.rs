//! How a run ends: by itself, asked, forced; always with its whole tree, never waiting for a pipe.

use std::{
    fs,
    io::{self, Write as _},
    time::{Duration, Instant},
};

use godot_mcp_shim::tree::Identity;
use router_core::Run;
use router_supervisor::{ExitCause, KillMethod, ProcessExit, SupervisorEvent};
use rustix::process::Signal;

use super::harness::{Router, Yard, key, ponger, sh, until};

const NO_PATIENCE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a scenario with cgroups, where this machine has them, and without. Nothing that can be installed brings them: where there
/// are none, that is written past the harness, which hides the output of a test that passes.
fn with_and_without_cgroup(yard: &Yard) -> Vec<Router> {
    let with = yard.router();
    if with.supervisor.capabilities().kill == KillMethod::ProcessTree {
        let notice = "NOT TESTED: killing through cgroup.kill. No cgroup v2 is delegated here; \
            try `systemd-run --user --scope -p Delegate=yes make test`\n";
        io::stderr().write_all(notice.as_bytes()).unwrap();
    }
    let without = yard.router_with(|config| config.use_cgroup = false);
    assert_eq!(
        without.supervisor.capabilities().kill,
        KillMethod::ProcessTree
    );
    vec![with, without]
}

#[tokio::test]
async fn an_exit_at_once_is_reported_with_its_evidence() {
    let yard = Yard::new();
    let mut router = yard.router();
    let running = router
        .start(
            "demo",
            1,
            sh("echo first >&2; echo 'last line' >&2; exit 3"),
        )
        .await;
    let exit = router.exit().await;
    assert_eq!(
        (exit.exit, exit.cause),
        (Some(ProcessExit::Code(3)), ExitCause::Own)
    );
    assert_eq!(exit.stderr_tail, ["first", "last line"]);
    let log = router
        .supervisor
        .logs_tail(&running.key, 100)
        .await
        .unwrap();
    let texts: Vec<&str> = log
        .iter()
        .map(|line| line.split_once(' ').unwrap().1)
        .collect();
    assert!(
        texts.contains(&"last line") && texts.last().unwrap().contains("exit code 3"),
        "{texts:?}"
    );
    yard.assert_clean().await;
}

#[tokio::test]
async fn a_crash_loop_of_short_runs_never_trips_over_itself() {
    let yard = Yard::new();
    let mut router = yard.router();
    for run in 1..=30 {
        router
            .supervisor
            .launch(key("demo"), Run(run), sh("exit 1"));
        let started = router.next().await;
        assert!(
            matches!(started, SupervisorEvent::Started { run: seen, .. } if seen == Run(run)),
            "{started:?}"
        );
        assert_eq!(router.exit().await.exit, Some(ProcessExit::Code(1)));
    }
    yard.assert_clean().await;
}

#[tokio::test]
async fn a_child_that_heeds_sigterm_ends_in_its_own_way() {
    let yard = Yard::new();
    for mut router in with_and_without_cgroup(&yard) {
        // The shell runs its trap when the wait is interrupted; its own child dies of the same signal to the group.
        let mut running = router
            .start(
                "demo",
                1,
                sh("trap 'exit 7' TERM; sleep 600 & echo up; wait"),
            )
            .await;
        assert_eq!(running.line().await, "up");
        router.supervisor.stop(&running.key, running.run, PATIENCE);
        let exit = router.exit().await;
        assert_eq!(
            (exit.exit, exit.cause),
            (Some(ProcessExit::Code(7)), ExitCause::Stopped)
        );
        yard.assert_clean().await;
    }
}

#[tokio::test]
async fn the_rest_of_the_group_has_the_grace_period_too() {
    let yard = Yard::new();
    let mut router = yard.router();
    let done = yard.path().join("saved");
    // The first process dies of SIGTERM at once; the other one of the group takes a moment to save its state.
    let script = format!(
        "(trap 'sleep 0.4; echo saved > {}; exit 0' TERM; echo up; while :; do sleep 0.05; done) & wait",
        done.display()
    );
    let mut running = router.start("demo", 1, sh(&script)).await;
    assert_eq!(running.line().await, "up");
    router.supervisor.stop(&running.key, running.run, PATIENCE);
    assert_eq!(router.exit().await.exit, Some(ProcessExit::Signal(15)));
    assert_eq!(fs::read_to_string(&done).unwrap(), "saved\n");
    yard.assert_clean().await;
}

#[tokio::test]
async fn a_stubborn_tree_is_killed_to_the_last_process() {
    let yard = Yard::new();
    for mut router in with_and_without_cgroup(&yard) {
        // Ignores TERM, leaves its session, leaves its parent twice, clears its environment, holds stdout open.
        let script = "trap '' TERM HUP; \
            setsid sh -c 'trap \"\" TERM; while :; do sleep 600; done' & \
            (setsid sh -c '(sleep 601 &) & sleep 602' &) & \
            env -i setsid sleep 603 & \
            echo up; while :; do sleep 604; done";
        let mut running = router.start("demo", 1, sh(script)).await;
        assert_eq!(running.line().await, "up");
        let record = yard.record("demo");
        let shim = record.shim.pid;
        let below = || godot_mcp_shim::tree::ProcessTable::read().descendants(shim);
        until("the whole tree to be there", || below().len() >= 7).await;
        let members: Vec<Identity> = below().into_iter().map(|stat| stat.identity).collect();
        router
            .supervisor
            .stop(&running.key, running.run, NO_PATIENCE);
        let exit = router.exit().await;
        assert_eq!(
            (exit.exit, exit.cause),
            (Some(ProcessExit::Signal(9)), ExitCause::Stopped)
        );
        assert!(exit.survivors.is_empty(), "{:?}", exit.survivors);
        assert!(
            members.iter().all(|one| !one.alive()),
            "after `Exited` nothing of the run lives"
        );
        assert!(
            record.cgroup.is_none_or(|path| !path.exists()),
            "its cgroup is gone too"
        );
        yard.assert_clean().await;
    }
}

#[tokio::test]
async fn a_tree_that_forks_all_the_time_does_not_outrun_the_kill() {
    let yard = Yard::new();
    for mut router in with_and_without_cgroup(&yard) {
        let script = "echo up; while :; do setsid sleep 20 & sleep 0.01; done";
        let mut running = router.start("demo", 1, sh(script)).await;
        assert_eq!(running.line().await, "up");
        until("some children", || yard.children().len() > 20).await;
        router.kill(&running).await;
        assert_eq!(yard.children(), []);
        yard.assert_clean().await;
    }
}

#[tokio::test]
async fn the_end_of_the_first_process_is_the_end_though_others_hold_its_pipes() {
    let yard = Yard::new();
    for mut router in with_and_without_cgroup(&yard) {
        let began = Instant::now();
        router
            .start("demo", 1, sh("setsid sleep 500 & exit 0"))
            .await;
        let exit = router.exit().await;
        assert_eq!(
            (exit.exit, exit.cause),
            (Some(ProcessExit::Code(0)), ExitCause::Own)
        );
        assert!(
            began.elapsed() < Duration::from_secs(100),
            "nothing was waited for"
        );
        yard.assert_clean().await;
    }
}

#[tokio::test]
async fn a_frozen_child_can_be_stopped() {
    let yard = Yard::new();
    let mut router = yard.router();
    let running = router.start("demo", 1, ponger()).await;
    let child = Identity::of(i32::try_from(running.pid).unwrap()).unwrap();
    assert!(child.signal(Signal::STOP));
    router.supervisor.stop(&running.key, running.run, PATIENCE);
    assert_eq!(router.exit().await.exit, Some(ProcessExit::Signal(15)));
    yard.assert_clean().await;
}

#[tokio::test]
async fn a_child_killed_by_somebody_is_reported_as_such() {
    let yard = Yard::new();
    let mut router = yard.router();
    let running = router.start("demo", 1, ponger()).await;
    assert!(
        Identity::of(i32::try_from(running.pid).unwrap())
            .unwrap()
            .signal(Signal::KILL)
    );
    let exit = router.exit().await;
    assert_eq!(
        (exit.exit, exit.cause),
        (Some(ProcessExit::Signal(9)), ExitCause::Own)
    );
    yard.assert_clean().await;
}

#[tokio::test]
async fn sigterm_to_a_shim_stops_its_instance_in_order() {
    let yard = Yard::new();
    let mut router = yard.router();
    let mut running = router
        .start(
            "demo",
            1,
            sh("trap 'exit 5' TERM; sleep 600 & echo up; wait"),
        )
        .await;
    assert_eq!(running.line().await, "up");
    assert!(yard.record("demo").shim.signal(Signal::TERM));
    let exit = router.exit().await;
    assert_eq!(
        (exit.exit, exit.cause),
        (Some(ProcessExit::Code(5)), ExitCause::ShimTerminated)
    );
    yard.assert_clean().await;
}

#[tokio::test]
async fn every_kill_is_answered() {
    let yard = Yard::new();
    let mut router = yard.router();
    router.supervisor.kill(&key("nobody"), Run(9));
    assert_eq!(router.exit().await.cause, ExitCause::NeverLived);

    let running = router.start("demo", 2, ponger()).await;
    router.supervisor.kill(&running.key, Run(1));
    assert_eq!(router.exit().await.cause, ExitCause::NeverLived);
    router.kill(&running).await;

    // A launch and a kill of it in one breath: either it never lives, or it does and is killed.
    router.supervisor.launch(key("brief"), Run(3), ponger());
    router.supervisor.kill(&key("brief"), Run(3));
    loop {
        match router.next().await {
            SupervisorEvent::Exited { run, .. } => break assert_eq!(run, Run(3)),
            SupervisorEvent::Started { .. } | SupervisorEvent::SpawnFailed { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    yard.assert_clean().await;
}
