//! Values with a keeper that is away, hangs, or refuses.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{
    Kept, LoadFuture, NoValues, PluginValues, SaveFuture, StoreError, UNWRITTEN_MAX, ValueError,
    ValueKeeper, Values,
};

#[derive(Default)]
struct State {
    kept: Kept,
    is_away: bool,
    hangs: bool,
    refuses: Option<&'static str>,
    writes: usize,
}

#[derive(Clone, Default)]
struct Keeper(Arc<Mutex<State>>);

impl Keeper {
    fn with(kept: &[(&str, &str)]) -> Self {
        let keeper = Self::default();
        keeper.0.lock().kept = kept
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
            .collect();
        keeper
    }

    fn away(self, is_away: bool) -> Self {
        self.0.lock().is_away = is_away;
        self
    }

    fn values(&self) -> Values {
        Values::new(Arc::new(self.clone()))
    }

    #[track_caller]
    fn holds(&self, expected: &[(&str, &str)]) {
        let held: Vec<(String, String)> = {
            let state = self.0.lock();
            let kept = state.kept.iter();
            kept.map(|(key, value)| (key.clone(), String::from_utf8(value.clone()).unwrap()))
                .collect()
        };
        let held: Vec<(&str, &str)> = held.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(held, expected);
    }
}

fn away() -> ValueError {
    ValueError::Unavailable("the database is away".to_owned())
}

impl ValueKeeper for Keeper {
    fn load(&self, _: &str) -> LoadFuture {
        let state = Arc::clone(&self.0);
        Box::pin(async move {
            let hangs = state.lock().hangs;
            if hangs {
                std::future::pending::<()>().await;
            }
            let state = state.lock();
            if state.is_away {
                return Err(away());
            }
            Ok(state.kept.clone())
        })
    }

    fn save(&self, _: &str, key: &str, value: Option<Vec<u8>>) -> SaveFuture {
        let (state, key) = (Arc::clone(&self.0), key.to_owned());
        Box::pin(async move {
            let mut state = state.lock();
            state.writes += 1;
            if state.is_away {
                return Err(away());
            }
            if state.refuses == Some(&*key) {
                return Err(ValueError::Refused("it is full".to_owned()));
            }
            match value {
                Some(value) => state.kept.insert(key, value),
                None => state.kept.remove(&key),
            };
            Ok(())
        })
    }
}

fn set(values: &PluginValues, key: &str, value: &str) {
    let kept = values.set(key.to_owned(), value.as_bytes().to_vec(), 1_000);
    assert_eq!(kept, Ok(()));
}

fn get(values: &PluginValues, key: &str) -> Option<String> {
    Some(String::from_utf8(values.get(key)?).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_start_without_the_keeper_loses_nothing() {
    let keeper = Keeper::with(&[("a", "old"), ("b", "old"), ("c", "old")]).away(true);
    let values = keeper.values();
    let of_p = values.of("p").await;
    assert_eq!(get(&of_p, "a"), None);
    set(&of_p, "b", "new");
    of_p.delete("c");
    set(&of_p, "d", "new");
    assert_eq!(get(&of_p, "b").as_deref(), Some("new"));
    assert!(values.round().await.is_err());
    keeper.holds(&[("a", "old"), ("b", "old"), ("c", "old")]);
    keeper.clone().away(false);
    assert_eq!(values.round().await, Ok(()));
    // What was kept before is there, and what was changed since wins over it.
    assert_eq!(get(&of_p, "a").as_deref(), Some("old"));
    assert_eq!(get(&of_p, "b").as_deref(), Some("new"));
    assert_eq!(get(&of_p, "c"), None);
    keeper.holds(&[("a", "old"), ("b", "new"), ("d", "new")]);
    assert_eq!(of_p.unwritten(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_written_is_written_later() {
    let keeper = Keeper::with(&[("a", "old")]);
    let values = keeper.values();
    let of_p = values.of("p").await;
    keeper.clone().away(true);
    set(&of_p, "a", "1");
    set(&of_p, "b", "1");
    assert_eq!(values.round().await, Err(away()));
    assert_eq!(of_p.unwritten(), 2);
    set(&of_p, "a", "2");
    of_p.delete("b");
    keeper.clone().away(false);
    assert_eq!(values.round().await, Ok(()));
    keeper.holds(&[("a", "2")]);
    // Nothing is written twice, and nothing that is as it was.
    let writes = keeper.0.lock().writes;
    set(&of_p, "a", "2");
    of_p.delete("b");
    assert_eq!(values.round().await, Ok(()));
    assert_eq!(keeper.0.lock().writes, writes);
}

#[tokio::test(start_paused = true)]
async fn changes_are_followed_also_when_the_keeper_comes_back() {
    let keeper = Keeper::with(&[("a", "old")]).away(true);
    let values = Arc::new(keeper.values());
    let ends = CancellationToken::new();
    let task = tokio::spawn({
        let (values, ends) = (Arc::clone(&values), ends.clone());
        async move { values.sync(ends).await }
    });
    let of_p = values.of("p").await;
    set(&of_p, "b", "1");
    // The clock is not the real one: it advances when there is nothing else to do.
    tokio::time::sleep(Duration::from_secs(60)).await;
    keeper.clone().away(false);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(get(&of_p, "a").as_deref(), Some("old"));
    keeper.holds(&[("a", "old"), ("b", "1")]);
    set(&of_p, "a", "2");
    tokio::time::sleep(Duration::from_secs(1)).await;
    keeper.holds(&[("a", "2"), ("b", "1")]);
    ends.cancel();
    task.await.unwrap();
    set(&of_p, "a", "3");
    values.finish().await;
    keeper.holds(&[("a", "3"), ("b", "1")]);
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_hangs_holds_nobody_up_for_long() {
    let keeper = Keeper::with(&[("a", "old")]);
    keeper.0.lock().hangs = true;
    let values = keeper.values();
    let begun = tokio::time::Instant::now();
    let of_p = values.of("p").await;
    set(&of_p, "a", "new");
    values.finish().await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    keeper.0.lock().hangs = false;
    assert_eq!(values.round().await, Ok(()));
    keeper.holds(&[("a", "new")]);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_refused_is_kept_in_memory_and_holds_up_no_other() {
    let keeper = Keeper::default();
    keeper.0.lock().refuses = Some("a");
    let values = keeper.values();
    let of_p = values.of("p").await;
    set(&of_p, "a", "1");
    set(&of_p, "b", "1");
    assert_eq!(values.round().await, Ok(()));
    assert_eq!(get(&of_p, "a").as_deref(), Some("1"));
    keeper.holds(&[("b", "1")]);
}

#[tokio::test(start_paused = true)]
async fn values_of_a_plugin_that_is_gone_are_dropped_once_they_are_written() {
    let keeper = Keeper::default().away(true);
    let values = keeper.values();
    let of_p = values.of("p").await;
    set(&of_p, "a", "1");
    drop(of_p);
    assert!(values.round().await.is_err());
    assert_eq!(get(&*values.of("p").await, "a").as_deref(), Some("1"));
    keeper.clone().away(false);
    assert_eq!(values.round().await, Ok(()));
    assert!(values.of_plugins.lock().is_empty());
    assert_eq!(get(&*values.of("p").await, "a").as_deref(), Some("1"));
}

#[tokio::test]
async fn what_waits_is_bounded() {
    let keeper = Keeper::default().away(true);
    let of_p = keeper.values().of("p").await;
    for n in 0..10 * UNWRITTEN_MAX {
        let key = format!("k{n}");
        // A key that is set and forgotten still waits to be forgotten.
        let _ = of_p.set(key.clone(), vec![1], 1_000);
        of_p.delete(&key);
    }
    of_p.delete(&"long".repeat(1_000));
    assert_eq!(of_p.unwritten(), UNWRITTEN_MAX);
    assert_eq!(
        of_p.set("more".into(), vec![1], 1_000),
        Err(StoreError::Full)
    );
    assert_eq!(of_p.set("k1".into(), vec![1], 1_000), Ok(()));
}

#[tokio::test]
async fn values_are_bounded_and_freed() {
    let values = Values::new(Arc::new(NoValues)).of("p").await;
    assert_eq!(values.set("a".into(), vec![0; 99], 100), Ok(()));
    assert_eq!(values.set("b".into(), vec![0], 100), Err(StoreError::Full));
    assert_eq!(values.set("a".into(), vec![1; 50], 100), Ok(()));
    assert_eq!(values.set("b".into(), vec![2; 48], 100), Ok(()));
    // Under a lower bound it may shrink, and grow no more.
    assert_eq!(values.set("b".into(), vec![2; 47], 50), Ok(()));
    assert_eq!(
        values.set("b".into(), vec![2; 48], 50),
        Err(StoreError::Full)
    );
    values.delete("a");
    assert_eq!(values.get("a"), None);
    assert_eq!(values.get("b"), Some(vec![2; 47]));
    assert_eq!(values.set("c".into(), vec![3; 50], 100), Ok(()));
    for key in [String::new(), "k".repeat(257), "a\0b".to_owned()] {
        assert_eq!(values.set(key, vec![], 1000), Err(StoreError::BadKey));
    }
}
