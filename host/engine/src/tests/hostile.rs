//! Guests that misbehave. None may harm the process, and each failure is reported by its name.

use std::{collections::BTreeSet, time::Duration};

use crate::{EngineEvent, EngineOptions, FailureKind, Limits};

use super::world::{World, guest, named_for_health, settings};

/// What each mode of the guest comes to.
const FAILURES: [(&str, FailureKind, &str); 12] = [
    ("loop", FailureKind::Timeout, "50 ms"),
    ("overflow", FailureKind::Trap, "overflows"),
    ("memory", FailureKind::Limit, "8388608 bytes of memory"),
    ("trap", FailureKind::Trap, ": as it was configured"),
    ("forged-panic", FailureKind::Trap, "ERROR forged: AUDIT"),
    ("host-calls", FailureKind::Limit, "1000 calls to the host"),
    ("log", FailureKind::Limit, "65536 bytes"),
    ("stdout", FailureKind::Limit, "65536 bytes"),
    ("stderr", FailureKind::Limit, "65536 bytes"),
    ("long-log", FailureKind::Limit, ""),
    ("long-answer", FailureKind::Limit, ""),
    (
        "sleep",
        FailureKind::Timeout,
        "waited for longer than 500 ms",
    ),
];

fn limits(mode: &str) -> Limits {
    let limits = Limits::default();
    if mode != "memory" {
        return limits;
    }
    Limits {
        memory_bytes: 8 * 1024 * 1024,
        // Filling memory takes time on a loaded machine, and this is not about time.
        call_timeout: Duration::from_secs(10),
        ..limits
    }
}

async fn fails(mode: &str) {
    let world = World::hostile_with(mode, limits(mode)).await;
    fails_in(&world, mode).await;
}

async fn fails_in(world: &World, mode: &str) {
    let known = FAILURES.iter().find(|(known, ..)| *known == mode);
    let (_, kind, text) = *known.unwrap();
    // Twice: a store that was spoilt must not be used again. What ran into a bound is not asked again for a while.
    let times = if kind == FailureKind::Trap { 2 } else { 1 };
    for _ in 0..times {
        let failure = world.judge("hostile-health").await.unwrap().unwrap_err();
        assert_eq!(failure.kind, kind, "{mode}: {failure}");
        assert!(failure.to_string().contains(text), "{mode}: {failure}");
    }
    let view = world.view("hostile-health");
    assert_eq!((view.calls, view.failures), (times, times));
    assert_eq!(view.failures_by_kind[kind.as_str()], times);
    assert!(view.last_error.unwrap().contains(text));
    assert_eq!(view.decisions.len() as u64, times);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_reserved_address_space_the_bounds_are_the_same() {
    for (mode, ..) in FAILURES {
        let one_by_one = |options: &mut EngineOptions| options.reserve_address_space = false;
        let world = World::hostile_on(mode, limits(mode), one_by_one).await;
        fails_in(&world, mode).await;
        world.engine.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_is_ended() {
    fails("loop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_overflow_is_a_trap() {
    fails("overflow").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_hog_is_stopped() {
    fails("memory").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_trap() {
    fails("trap").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_host_calls_is_stopped() {
    fails("host-calls").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_log_lines_is_stopped() {
    fails("log").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_printed_lines_is_stopped() {
    fails("stdout").await;
    fails("stderr").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_message_of_a_panic_is_reported_on_one_line() {
    fails("forged-panic").await;
    let world = World::hostile("forged-panic").await;
    let failure = world.judge("hostile-health").await.unwrap().unwrap_err();
    assert!(failure.message.contains("panicked at "), "{failure}");
    assert!(failure.message.ends_with("\\u{1b}[2J"), "{failure}");
    assert!(!failure.message.contains(char::is_control), "{failure}");
    let printed = failure.printed.unwrap();
    assert!(printed.contains("\n2026-01-01"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_line_of_64_megabytes_is_refused() {
    fails("long-log").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_8_megabytes_is_refused() {
    fails("long-answer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_sleeps_is_ended() {
    fails("sleep").await;
}

async fn answers(mode: &str, text: &str) {
    let world = World::hostile(mode).await;
    let verdict = world.judge("hostile-health").await.unwrap().unwrap();
    assert_eq!(verdict.health.as_str(), "degraded", "{mode}: {verdict:?}");
    assert!(verdict.reason.contains(text), "{mode}: {verdict:?}");
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
async fn a_guest_sees_clocks_that_stand_still() {
    answers("clock", "0ns since 1970, 0ns later").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_has_hash_maps_and_no_chance() {
    let mut answers = BTreeSet::new();
    for _ in 0..2 {
        let world = World::hostile("random").await;
        for _ in 0..2 {
            let verdict = world.judge("hostile-health").await.unwrap().unwrap();
            assert!(verdict.reason.starts_with("3 words"), "{verdict:?}");
            answers.insert(verdict.reason);
        }
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_reaches_nobody() {
    answers("network", "reaches nobody").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_a_guest_are_passed_on_as_data() {
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
    assert!(view.reason.unwrap().contains("panicked"));
    // Three that failed, and one that was not put to it.
    assert_eq!(view.unanswered.map(|one| one.questions), Some(4));
    assert_eq!(world.engine.conditions().borrow().quarantined, 1);
    // A new generation starts with a clean slate.
    let calm = settings("hostile-health", "mode = 'nothing'");
    world.engine.reconfigure(calm).await;
    assert!(world.judge("hostile-health").await.unwrap().is_ok());
    assert_eq!(world.view("hostile-health").unanswered, None);
    assert_eq!(world.engine.conditions().borrow().quarantined, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantined_plugin_that_no_policy_names_is_held_against_nobody() {
    let mut world = World::hostile("loop").await;
    let used = named_for_health;
    world.engine.use_policies(used(&["hostile-health"]));
    assert!(world.judge("hostile-health").await.unwrap().is_err());
    let event = world.event().await;
    assert!(
        matches!(event, EngineEvent::Quarantined { .. }),
        "{event:?}"
    );
    world.engine.reload_now().await;
    assert_eq!(
        world.engine.conditions().borrow().quarantined,
        1,
        "it is still named"
    );
    world.engine.use_policies(used(&[]));
    assert_eq!(world.engine.conditions().borrow().quarantined, 0);
    let plugin = "hostile-health".to_owned();
    assert_eq!(world.event().await, EngineEvent::Lapsed { plugin });
    let view = world.view("hostile-health");
    assert_eq!((view.state, view.in_use), ("serving", false));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_askers_of_a_memory_hog_take_the_memory_of_one() {
    let limits = Limits {
        // Filling memory takes time on a loaded machine, and this is not about time.
        call_timeout: Duration::from_secs(10),
        ..Limits::default()
    };
    let mut world = World::hostile_with("memory", limits).await;
    world.put("default-health", &guest("default-health"));
    world.swapped("default-health").await;
    let ask = |policy: &'static str| {
        let engine = world.engine.clone();
        tokio::spawn(async move { engine.judge(policy, None, super::world::facts()).await })
    };
    let hostile: Vec<_> = (0..64).map(|_| ask("hostile-health")).collect();
    let good: Vec<_> = (0..64).map(|_| ask("default-health")).collect();
    let mut failed = 0;
    for asking in hostile {
        failed += usize::from(asking.await.unwrap().is_some());
    }
    // The first of them ran into its bound; the others had not begun.
    assert_eq!((failed, world.view("hostile-health").calls), (1, 1));
    for asking in good {
        assert!(asking.await.unwrap().unwrap().is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_loops_or_traps_at_load_is_refused() {
    for (at_load, text) in [
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
        assert!(reason.contains(text), "{at_load}: {reason}");
        assert!(world.judge("hostile-health").await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_askers_of_an_endless_loop_do_not_wait_for_each_other_for_ever() {
    let world = World::hostile("loop").await;
    let asked = (0..200).map(|_| {
        let engine = world.engine.clone();
        tokio::spawn(async move {
            engine
                .judge("hostile-health", None, super::world::facts())
                .await
        })
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
    let asking = tokio::spawn(async move {
        engine
            .judge("hostile-health", None, super::world::facts())
            .await
    });
    world.engine.shutdown().await;
    assert!(!matches!(asking.await.unwrap(), Some(Ok(_))));
}
