//! The spool alone: order, what a batch is, restarts, bounds, and a disk that refuses.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use super::{
    Progress, QUEUE_BYTES_MAX, Spool,
    writer::{MEMORY_BYTES_MAX, SEGMENT_BYTES_MAX},
};
use crate::facts::{Fact, RowOrigin};

const ROOMY: u64 = 1 << 30;

fn fact(name: &str) -> Fact {
    let writer = RowOrigin::new("r", 1);
    Fact::intention(name, true, &writer)
}

fn name(fact: &Fact) -> &str {
    match fact {
        Fact::Intention { instance, .. } => instance,
        other => panic!("not an intention: {other:?}"),
    }
}

fn start(dir: &Path, bytes_max: u64) -> Spool {
    Spool::start(dir.join("spool"), bytes_max, Arc::default()).unwrap()
}

fn lost(spool: &Spool) -> u64 {
    spool.counted.lost.load(Ordering::Relaxed)
}

async fn progress(spool: &Spool, wanted: impl FnMut(&Progress) -> bool) {
    let mut progress = spool.progress();
    let waited = tokio::time::timeout(
        std::time::Duration::from_secs(60),
        progress.wait_for(wanted),
    );
    waited.await.expect("in time").unwrap();
}

/// Takes everything, in order.
async fn take_all(spool: &Spool) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(batch) = spool.take().await {
        names.extend(batch.facts.iter().map(|fact| name(fact).to_owned()));
        spool.done(batch.number).await;
    }
    names
}

fn numbers(count: u32) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn a_batch_is_handed_out_until_it_is_done_and_then_never_again() {
    let dir = tempfile::tempdir().unwrap();
    let spool = start(dir.path(), ROOMY);
    assert!(spool.take().await.is_none());
    spool.keep(fact("a"));
    let first = spool.take().await.unwrap();
    spool.keep(fact("b"));
    let again = spool.take().await.unwrap();
    assert_eq!((again.number, &again.facts), (first.number, &first.facts));
    // Of another batch: not this one's end.
    spool.done(first.number + 7).await;
    assert_eq!(spool.take().await.unwrap().number, first.number);
    spool.done(first.number).await;
    assert_eq!(take_all(&spool).await, ["b"]);
    progress(&spool, |progress| {
        progress.settled == 2 && !progress.pending && progress.waiting == 0
    })
    .await;
    spool.stop().await;
}

#[tokio::test]
async fn order_holds_over_many_files_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let count = 3 * u32::try_from(SEGMENT_BYTES_MAX).unwrap() / 100;
    let third = count / 3;
    for life in 0..3 {
        let spool = start(dir.path(), ROOMY);
        for number in life * third..(life + 1) * third {
            spool.keep(fact(&number.to_string()));
        }
        spool.stop().await;
        assert_eq!(lost(&spool), 0);
    }
    let spool = start(dir.path(), ROOMY);
    assert_eq!(spool.progress().borrow().waiting, u64::from(3 * third));
    assert_eq!(take_all(&spool).await, numbers(3 * third));
    spool.keep(fact("later"));
    assert_eq!(take_all(&spool).await, ["later"]);
    spool.stop().await;
}

#[tokio::test]
async fn what_was_accepted_before_a_stop_is_safe_and_what_comes_after_is_counted_lost() {
    let dir = tempfile::tempdir().unwrap();
    let spool = start(dir.path(), ROOMY);
    for number in 0..20_000 {
        spool.keep(fact(&number.to_string()));
    }
    spool.stop().await;
    spool.keep(fact("late"));
    assert_eq!(lost(&spool), 1);
    assert!(spool.take().await.is_none());
    spool.stop().await;
    let spool = start(dir.path(), ROOMY);
    assert_eq!(take_all(&spool).await, numbers(20_000));
    spool.stop().await;
}

#[tokio::test]
async fn the_last_handle_ends_the_thread_with_everything_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let spool = start(dir.path(), ROOMY);
    for number in 0..100 {
        spool.keep(fact(&number.to_string()));
    }
    let thread = spool.thread.lock().take().unwrap();
    drop(spool);
    tokio::task::spawn_blocking(move || thread.join())
        .await
        .unwrap()
        .unwrap();
    let spool = start(dir.path(), ROOMY);
    assert_eq!(take_all(&spool).await, numbers(100));
    spool.stop().await;
}

#[tokio::test]
async fn past_its_bytes_it_keeps_the_oldest_and_counts_the_rest_as_settled() {
    let dir = tempfile::tempdir().unwrap();
    let spool = start(dir.path(), 1_000);
    for number in 0..50 {
        spool.keep(fact(&number.to_string()));
        let accepted = spool.accepted();
        progress(&spool, |progress| {
            progress.waiting + progress.settled >= accepted
        })
        .await;
    }
    let kept = 50 - u32::try_from(lost(&spool)).unwrap();
    assert!(kept > 3 && kept < 20, "{kept}");
    assert_eq!(take_all(&spool).await, numbers(kept));
    progress(&spool, |progress| progress.settled == 50).await;
    spool.keep(fact("room"));
    assert_eq!(take_all(&spool).await, ["room"]);
    spool.stop().await;
}

#[tokio::test]
async fn while_the_disk_refuses_memory_holds_up_to_its_bound_and_returns_to_disk() {
    let dir = tempfile::tempdir().unwrap();
    let in_the_way = dir.path().join("spool");
    std::fs::write(&in_the_way, "").unwrap();
    let spool = start(dir.path(), ROOMY);
    let crash = |number: usize| {
        let evidence = serde_json::json!({ "number": number, "stderr": "x".repeat(60_000) });
        Fact::crash(&number.to_string(), &evidence, &RowOrigin::new("r", 1))
    };
    let fitting = MEMORY_BYTES_MAX / crash(100).size();
    let extra = 20;
    for number in 0..fitting + extra {
        // One number is as long as another.
        spool.keep(crash(100 + number));
        let accepted = spool.accepted();
        progress(&spool, |progress| {
            progress.waiting + progress.settled >= accepted
        })
        .await;
    }
    assert_eq!(lost(&spool), extra as u64);
    assert_eq!(spool.progress().borrow().spooled, 0);
    std::fs::remove_file(&in_the_way).unwrap();
    spool.keep(crash(100));
    progress(&spool, |progress| progress.waiting == fitting as u64 + 1).await;
    spool.stop().await;
    let spool = start(dir.path(), ROOMY);
    let mut names = Vec::new();
    while let Some(batch) = spool.take().await {
        names.extend(batch.facts.iter().map(|fact| match fact {
            Fact::Crash { instance, .. } => instance.parse::<usize>().unwrap(),
            other => panic!("not a crash: {other:?}"),
        }));
        spool.done(batch.number).await;
    }
    let expected: Vec<usize> = (100..100 + fitting).chain([100]).collect();
    assert_eq!(names, expected);
    spool.stop().await;
}

#[tokio::test]
async fn a_queue_of_large_facts_is_bounded_in_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let spool = start(dir.path(), ROOMY);
    let evidence = serde_json::json!({ "stderr": "x".repeat(60_000) });
    let large = Fact::crash("a", &evidence, &RowOrigin::new("r", 1));
    // Twice what may wait, faster than any disk: either it is on disk or it is counted.
    for _ in 0..2 * QUEUE_BYTES_MAX / large.size() {
        spool.keep(large.clone());
        assert!(spool.queued.load(Ordering::Relaxed) <= QUEUE_BYTES_MAX);
    }
    spool.stop().await;
    assert_eq!(
        spool.progress().borrow().spooled + lost(&spool),
        (2 * QUEUE_BYTES_MAX / large.size()) as u64
    );
    assert_eq!(spool.queued.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_rejected_fact_is_put_aside_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let spool = start(dir.path(), ROOMY);
    spool.keep(fact("good"));
    spool.reject(fact("bad"), "because".to_owned()).await;
    spool.stop().await;
    let aside = std::fs::read_to_string(dir.path().join("spool/rejected.jsonl")).unwrap();
    assert!(
        aside.contains("\"bad\"") && aside.ends_with('\n'),
        "{aside}"
    );
    assert_eq!(spool.counted.rejected.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn files_of_earlier_lives_that_could_not_be_listed_are_never_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let (spool_dir, aside) = (dir.path().join("spool"), dir.path().join("aside"));
    for name in ["a", "b"] {
        let spool = start(dir.path(), ROOMY);
        spool.keep(fact(name));
        spool.stop().await;
    }
    // Something else stands there while the next life begins: a volume that is mounted late.
    std::fs::rename(&spool_dir, &aside).unwrap();
    std::fs::write(&spool_dir, "").unwrap();
    let spool = start(dir.path(), ROOMY);
    spool.keep(fact("held in memory"));
    progress(&spool, |progress| progress.waiting == 1).await;
    std::fs::remove_file(&spool_dir).unwrap();
    std::fs::rename(&aside, &spool_dir).unwrap();
    spool.keep(fact("written"));
    progress(&spool, |progress| progress.waiting == 2).await;
    assert_eq!(spool.progress().borrow().spooled, 2);
    spool.stop().await;
    let spool = start(dir.path(), ROOMY);
    assert_eq!(
        take_all(&spool).await,
        ["a", "b", "held in memory", "written"]
    );
    spool.stop().await;
}
