use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use router_core::{InstanceId, SlotKey, route::Route};

use super::{RoutingEntry, RoutingTable};

fn id(n: u64) -> InstanceId {
    InstanceId::parse(&format!("project-{n}")).unwrap()
}

fn entry(n: u64, wait_ms: u64) -> RoutingEntry {
    let route = Route::Startable { wait_ms };
    RoutingEntry::new(SlotKey::first(id(n)), route, None, Arc::default())
}

fn wait_ms(table: &RoutingTable, n: u64) -> Option<u64> {
    let entry = table.get(id(n).as_str())?;
    assert_eq!(entry.key.instance, id(n));
    match entry.route {
        Route::Startable { wait_ms } => Some(wait_ms),
        _ => None,
    }
}

/// The addresses of all shards: two that differ are two maps.
fn shape(table: &RoutingTable) -> Vec<usize> {
    let shards = table.shards.iter();
    shards
        .map(|shard| Arc::as_ptr(&shard.load_full()) as usize)
        .collect()
}

#[test]
fn every_instance_has_the_entry_that_was_set_last() {
    let table = RoutingTable::new();
    for n in 0..5_000 {
        table.set(entry(n, n));
    }
    for n in (0..5_000).step_by(3) {
        table.set(entry(n, n + 1));
    }
    for n in (0..5_000).step_by(5) {
        table.remove(&id(n));
    }
    for n in 0..5_000 {
        let expected = match n {
            n if n % 5 == 0 => None,
            n if n % 3 == 0 => Some(n + 1),
            n => Some(n),
        };
        assert_eq!(wait_ms(&table, n), expected, "{n}");
    }
    assert_eq!(table.all().len(), 4_000);
    assert!(table.get("project-5000").is_none());
}

#[test]
fn a_change_touches_no_map_and_an_instance_that_comes_or_goes_one_shard() {
    let table = RoutingTable::new();
    for n in 0..10_000 {
        table.set(entry(n, 1));
    }
    let before = shape(&table);
    table.set(entry(77, 2));
    assert_eq!(shape(&table), before);
    let differing = |other: &[usize]| before.iter().zip(other).filter(|(a, b)| a != b).count();
    table.set(entry(10_000, 1));
    assert_eq!(differing(&shape(&table)), 1);
    let largest = table.shards.iter().map(|shard| shard.load().len()).max();
    assert!(largest.unwrap() < 64, "{largest:?} of 10,000 in one shard");
    let with_one_more = shape(&table);
    table.remove(&id(10_001));
    assert_eq!(shape(&table), with_one_more, "it was not there");
}

#[tokio::test]
async fn a_watcher_wakes_for_its_own_instance_only() {
    let table = RoutingTable::new();
    table.set(entry(1, 1));
    table.set(entry(2, 1));
    let (seen, changed) = table.watch(id(1).as_str()).unwrap();
    assert_eq!(seen.route, Route::Startable { wait_ms: 1 });
    let mut changed = readiness(changed);
    table.set(entry(2, 2));
    assert!(!changed());
    table.set(entry(1, 2));
    assert!(changed());
    let (_, removed) = table.watch(id(1).as_str()).unwrap();
    table.remove(&id(1));
    removed.await;
    assert!(table.watch(id(1).as_str()).is_none());
}

/// Whether a future is ready, each time it is asked.
fn readiness(future: impl Future<Output = ()>) -> impl FnMut() -> bool {
    let mut future = Box::pin(future);
    move || {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        future.as_mut().poll(&mut context).is_ready()
    }
}

#[tokio::test]
async fn the_housekeeping_receives_which_instances_changed() {
    let table = RoutingTable::new();
    let mut changes = table.changes();
    table.set(entry(1, 1));
    table.set(entry(1, 2));
    table.remove(&id(1));
    table.remove(&id(1));
    for _ in 0..3 {
        assert_eq!(changes.recv().await.unwrap(), id(1));
    }
    assert!(changes.try_recv().is_err());
}

#[test]
fn a_reader_sees_whole_entries_while_instances_come_and_go() {
    let table = RoutingTable::new();
    table.set(entry(0, 0));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut newest = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let seen = wait_ms(&table, 0).expect("it is never taken out");
                    assert!(seen >= newest, "{seen} after {newest}");
                    newest = seen;
                    if let Some((entry, _)) = table.watch(id(1).as_str()) {
                        assert_eq!(entry.key.instance, id(1));
                    }
                }
            });
        }
        for n in 1..5_000 {
            table.set(entry(0, n));
            table.set(entry(1, n));
            table.remove(&id(1));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(wait_ms(&table, 0), Some(4_999));
}
