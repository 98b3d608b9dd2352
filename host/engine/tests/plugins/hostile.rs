//! Guests that misbehave. None may harm the process, and each failure is told by its name.

use std::time::Duration;

use router_engine::{EngineEvent, FailureKind, Limits};

use crate::world::{World, guest, settings};

async fn fails(mode: &str, kind: FailureKind, words: &str) {
    fails_within(Limits::default(), mode, kind, words).await;
}

async fn fails_within(limits: Limits, mode: &str, kind: FailureKind, words: &str) {
    let world = World::hostile_with(mode, limits).await;
    // Twice: a store that was spoilt must not be used again. What ran into a bound is not asked again for a while.
    let times = if kind == FailureKind::Trap { 2 } else { 1 };
    for _ in 0..times {
        let failure = world.judge("hostile-health").await.unwrap().unwrap_err();
        assert_eq!(failure.kind, kind, "{mode}: {failure}");
        assert!(failure.to_string().contains(words), "{mode}: {failure}");
    }
    let view = world.view("hostile-health");
    assert_eq!((view.calls, view.failures), (times, times));
    assert_eq!(view.failures_by_kind[kind.as_str()], times);
    assert!(view.last_error.unwrap().contains(words));
    assert_eq!(view.decisions.len() as u64, times);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_is_ended() {
    fails("loop", FailureKind::Timeout, "50 ms").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_overflow_is_a_trap() {
    fails("overflow", FailureKind::Trap, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_hog_is_stopped() {
    let limits = Limits {
        memory_bytes: 8 * 1024 * 1024,
        // Filling memory takes time on a loaded machine, and this is not about time.
        call_timeout: Duration::from_secs(10),
        ..Limits::default()
    };
    fails_within(limits, "memory", FailureKind::Limit, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_trap() {
    fails("trap", FailureKind::Trap, "panicked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_host_calls_is_stopped() {
    fails("host-calls", FailureKind::Limit, "1000 calls to the host").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_log_lines_is_stopped() {
    fails("log", FailureKind::Limit, "65536 bytes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_line_of_64_megabytes_is_refused() {
    fails("long-log", FailureKind::Limit, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_8_megabytes_is_refused() {
    fails("long-answer", FailureKind::Limit, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_sleeps_is_ended() {
    fails(
        "sleep",
        FailureKind::Timeout,
        "waited for longer than 500 ms",
    )
    .await;
}

async fn answers(mode: &str, words: &str) {
    let world = World::hostile(mode).await;
    let verdict = world.judge("hostile-health").await.unwrap().unwrap();
    assert_eq!(verdict.health.as_str(), "degraded", "{mode}: {verdict:?}");
    assert!(verdict.reason.contains(words), "{mode}: {verdict:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_sees_no_files() {
    answers("files", "sees no files").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_sees_no_environment() {
    answers("environment", "sees 0 variables").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_reaches_nobody() {
    answers("network", "reaches nobody").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_a_guest_are_passed_on_as_data() {
    let world = World::hostile("injection").await;
    let verdict = world.judge("hostile-health").await.unwrap().unwrap();
    assert_eq!(verdict.reason, "one\ntwo AUDIT");
    let json = serde_json::to_string(&world.view("hostile-health")).unwrap();
    assert!(
        !json.contains('\n') && json.contains(r"one\ntwo AUDIT"),
        "{json}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_keeps_no_more_than_it_may() {
    let limits = Limits {
        store_bytes: 200 * 1024,
        ..Limits::default()
    };
    let world = World::hostile_with("fill", limits).await;
    let verdict = world.judge("hostile-health").await.unwrap().unwrap();
    assert!(verdict.reason.contains("after 3"), "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_failures_in_a_row_are_a_quarantine() {
    let mut world = World::hostile("trap").await;
    for _ in 0..3 {
        assert!(world.judge("hostile-health").await.unwrap().is_err());
    }
    let event = world.event().await;
    let EngineEvent::Quarantined { reason, pause, .. } = event else {
        panic!("{event:?}");
    };
    assert!(reason.contains("panicked"));
    assert!(pause.as_secs() >= 1);
    assert!(world.judge("hostile-health").await.is_none());
    let view = world.view("hostile-health");
    assert_eq!((view.state, view.calls), ("quarantined", 3));
    assert!(view.quarantined_for_ms.unwrap() > 0);
    assert_eq!(world.engine.quarantined(), 1);
    // A new generation starts with a clean slate.
    let calm = settings("hostile-health", "mode = 'nothing'");
    world.engine.reconfigure(calm).await;
    assert!(world.judge("hostile-health").await.unwrap().is_ok());
    assert_eq!(world.engine.quarantined(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_loops_or_traps_at_load_is_refused() {
    for (at_load, words) in [
        (
            "loop",
            "validate-config failed: it took longer than the 500 ms",
        ),
        ("trap", "panicked"),
        ("refuse", "as it asks to be"),
    ] {
        let mut world = World::new(settings(
            "hostile-health",
            &format!("at_load = '{at_load}'"),
        ));
        world.put("hostile-health", &guest("hostile-health"));
        let reason = world.refused("hostile-health").await;
        assert!(reason.contains(words), "{at_load}: {reason}");
        assert!(world.judge("hostile-health").await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_askers_of_an_endless_loop_do_not_wait_for_each_other_for_ever() {
    let world = World::hostile("loop").await;
    let asked = (0..200).map(|_| {
        let engine = world.engine.clone();
        tokio::spawn(async move { engine.judge("hostile-health", crate::world::facts()).await })
    });
    let mut unanswered = 0;
    for asking in asked.collect::<Vec<_>>() {
        // Refused at once, for the queue is full or it is in quarantine; or ended by its deadline.
        unanswered += usize::from(!matches!(asking.await.unwrap(), Some(Ok(_))));
    }
    assert_eq!(unanswered, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_ends_while_a_guest_loops() {
    let world = World::hostile("loop").await;
    let engine = world.engine.clone();
    let asking =
        tokio::spawn(async move { engine.judge("hostile-health", crate::world::facts()).await });
    world.engine.shutdown().await;
    assert!(!matches!(asking.await.unwrap(), Some(Ok(_))));
}
