//! The loss of a shim: its children are found and killed, and the slot can be used again.

use godot_mcp_shim::{
    cgroup::usable_parent,
    tree::{Identity, ProcessTable},
};
use router_core::Run;
use router_supervisor::{ExitCause, ProcessExit, SupervisorEvent};
use rustix::process::Signal;

use super::harness::{Yard, key, ponger, sh, until};

#[tokio::test]
async fn what_a_killed_shim_had_started_is_swept_and_the_slot_is_free() {
    let yard = Yard::new();
    for use_cgroup in [true, false] {
        let mut router = yard.router_with(|config| config.use_cgroup = use_cgroup);
        let script = "setsid sh -c '(sleep 700 &); exec sleep 701' & (sleep 702 &) & echo up; while read line; do echo pong; done";
        let mut running = router.start("demo", 1, sh(script)).await;
        assert_eq!(running.line().await, "up");
        let record = yard.record("demo");
        assert_eq!(
            record.cgroup.is_some(),
            use_cgroup && usable_parent().is_some()
        );
        let shim = record.shim;
        let below = || ProcessTable::read().descendants(shim.pid);
        until("the tree", || below().len() >= 4).await;
        let members: Vec<Identity> = below().into_iter().map(|stat| stat.identity).collect();
        assert!(shim.signal(Signal::KILL));
        let lost = router.next().await;
        assert!(
            matches!(lost, SupervisorEvent::ShimLost { run: Run(1), .. }),
            "{lost:?}"
        );
        // Asked for in the middle of the sweep, begun after it.
        router.supervisor.launch(key("demo"), Run(2), ponger());
        let exit = router.exit().await;
        assert_eq!(
            (exit.exit, exit.cause, exit.survivors),
            (None, ExitCause::ShimLost, vec![])
        );
        assert!(members.iter().all(|one| !one.alive()));
        assert!(
            record.cgroup.is_none_or(|path| !path.exists()),
            "its cgroup is gone too"
        );
        let started = router.next().await;
        assert!(
            matches!(started, SupervisorEvent::Started { run: Run(2), .. }),
            "{started:?}"
        );
        router.supervisor.kill(&key("demo"), Run(2));
        router.exit().await;
        yard.assert_clean().await;
    }
}

#[tokio::test]
async fn a_process_without_the_marker_is_swept_too_once_it_was_sampled() {
    let yard = Yard::new();
    let mut router = yard.router_with(|config| config.use_cgroup = false);
    let mut running = router
        .start(
            "demo",
            1,
            sh("env -i setsid sleep 710 & echo up; read wait"),
        )
        .await;
    assert_eq!(running.line().await, "up");
    let shim = yard.record("demo").shim;
    until("the cleared process", || {
        ProcessTable::read().descendants(shim.pid).len() == 2
    })
    .await;
    let members: Vec<Identity> = ProcessTable::read()
        .descendants(shim.pid)
        .iter()
        .map(|stat| stat.identity)
        .collect();
    for _ in 0..2 {
        // The second sample is begun after the tree was complete.
        while !matches!(
            router.next_of_any_kind().await,
            SupervisorEvent::Memory { processes: 2, .. }
        ) {}
    }
    assert!(shim.signal(Signal::KILL));
    assert!(matches!(
        router.next().await,
        SupervisorEvent::ShimLost { .. }
    ));
    assert!(router.exit().await.rss_bytes.is_some());
    assert!(members.iter().all(|one| !one.alive()));
    yard.assert_clean().await;
}

#[tokio::test]
async fn shim_and_child_killed_together_leave_nothing() {
    let yard = Yard::new();
    let mut router = yard.router();
    let mut running = router
        .start("demo", 1, sh("setsid sleep 720 & echo up; read wait"))
        .await;
    assert_eq!(running.line().await, "up");
    let child = Identity::of(i32::try_from(running.pid).unwrap()).unwrap();
    assert!(child.signal(Signal::KILL) && yard.record("demo").shim.signal(Signal::KILL));
    loop {
        match router.next().await {
            SupervisorEvent::Exited { exit, .. } => {
                // Whether the shim still saw its child die is a race.
                assert!(
                    matches!(exit.cause, ExitCause::ShimLost | ExitCause::Own),
                    "{exit:?}"
                );
                break;
            }
            SupervisorEvent::ShimLost { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    yard.assert_clean().await;
}

#[tokio::test]
async fn a_shim_killed_while_no_router_was_there_is_swept_by_the_next() {
    let yard = Yard::new();
    let mut first = yard.router();
    let mut running = first
        .start("demo", 1, sh("setsid sleep 730 & echo up; read wait"))
        .await;
    assert_eq!(running.line().await, "up");
    let shim = yard.record("demo").shim;
    drop((first, running));
    assert!(shim.signal(Signal::KILL));
    until("the shim to be gone", || !shim.alive()).await;
    let mut second = yard.router();
    let (events, adopted) = second.adopt().await;
    assert_eq!(adopted, 0);
    let [
        SupervisorEvent::ShimLost { .. },
        SupervisorEvent::Exited { exit, .. },
    ] = events.as_slice()
    else {
        panic!("{events:?}")
    };
    assert_eq!(exit.cause, ExitCause::ShimLost);
    yard.assert_clean().await;
}

#[tokio::test]
async fn a_launch_clears_what_a_killed_shim_of_any_router_left() {
    let yard = Yard::new();
    let mut first = yard.router();
    let mut running = first
        .start("demo", 1, sh("setsid sleep 740 & echo up; read wait"))
        .await;
    assert_eq!(running.line().await, "up");
    let shim = yard.record("demo").shim;
    drop((first, running));
    assert!(shim.signal(Signal::KILL));
    until("the shim to be gone", || !shim.alive()).await;
    let mut other = yard.router_with(|config| config.router_id = "another".into());
    let mut running = other.start("demo", 1, ponger()).await;
    running.converse("ping", "pong").await;
    assert_eq!(yard.children().len(), 1, "only the new child lives");
    assert_eq!(
        other.kill(&running).await.exit,
        Some(ProcessExit::Signal(9))
    );
    yard.assert_clean().await;
}

#[tokio::test]
async fn a_frozen_shim_is_replaced() {
    let yard = Yard::new();
    let mut first = yard.router();
    let running = first.start("demo", 1, ponger()).await;
    let shim = yard.record("demo").shim;
    drop((first, running));
    assert!(shim.signal(Signal::STOP));
    let mut second = yard.router();
    let (events, adopted) = second.adopt().await;
    assert_eq!(adopted, 0);
    assert!(
        matches!(
            events.as_slice(),
            [
                SupervisorEvent::ShimLost { .. },
                SupervisorEvent::Exited { .. }
            ]
        ),
        "{events:?}"
    );
    let mut running = second.start("demo", 2, ponger()).await;
    running.converse("ping", "pong").await;
    second.kill(&running).await;
    yard.assert_clean().await;
}
