//! The values that plugins keep: held in memory, because a guest's call must not wait for a database, and handed to a keeper
//! that makes them outlive the router.
//!
//! While the keeper is away nothing passes for empty and nothing is dropped: what was kept before is read as soon as that is
//! possible, and what was changed meanwhile wins over it and is written.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::bindings::host::StoreError;

/// Longest key and value, as `host.set` of `wit/` states them.
const KEY_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Most keys per plugin: a policy keeps counters and small tables.
const KEYS_MAX: usize = 1_000;

/// Most keys that may wait for the keeper: every key that may be set, and as many that were forgotten.
const UNWRITTEN_MAX: usize = 2 * KEYS_MAX;

/// How long a plugin waits for what it kept before it starts without it, and a round of writing for the same.
const LOAD_WITHIN: Duration = Duration::from_secs(2);

/// How long the keeper may take for one value: longer than the database's own deadlines together.
const KEEP_WITHIN: Duration = Duration::from_secs(30);

/// Changes are gathered for so long, so that a value that changes with each call is written a few times a second at most; a
/// router that is killed loses no more than this.
const GATHER: Duration = Duration::from_millis(200);

/// How often a keeper that is away is tried.
const RETRY_EVERY: Duration = Duration::from_secs(2);

/// How long the end of the router may be held up by values that were not written yet.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

/// What a plugin had kept.
pub type LoadFuture = Pin<Box<dyn Future<Output = Result<Kept, ValueError>> + Send>>;

/// SaveFuture one value.
pub type SaveFuture = Pin<Box<dyn Future<Output = Result<(), ValueError>> + Send>>;

/// Values by their keys.
pub type Kept = BTreeMap<String, Vec<u8>>;

/// Why values were not read or not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not now. It is tried again.
    #[error("{0}")]
    Unavailable(String),
    /// This value is never taken.
    #[error("{0}")]
    Refused(String),
}

/// Makes values outlive the router.
pub trait ValueKeeper: Send + Sync {
    /// Everything that a plugin kept.
    fn load(&self, plugin: &str) -> LoadFuture;

    /// Keeps a value, or forgets it. One at a time; the same may come twice.
    fn save(&self, plugin: &str, key: &str, value: Option<Vec<u8>>) -> SaveFuture;
}

/// Nothing outlives the router.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoValues;

impl ValueKeeper for NoValues {
    fn load(&self, _: &str) -> LoadFuture {
        Box::pin(async { Ok(Kept::new()) })
    }

    fn save(&self, _: &str, _: &str, _: Option<Vec<u8>>) -> SaveFuture {
        Box::pin(async { Ok(()) })
    }
}

/// The values of all plugins. They stay where generations come and go.
pub(crate) struct Values {
    keeper: Arc<dyn ValueKeeper>,
    of_plugins: Mutex<HashMap<String, Arc<PluginValues>>>,
    /// Something waits to be read or written.
    changed: Arc<Notify>,
    /// Held by the round of reading and writing in progress.
    round: tokio::sync::Mutex<()>,
}

/// The values of one plugin.
pub(crate) struct PluginValues {
    held: Mutex<Held>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Held {
    /// What the plugin sees.
    values: Kept,
    /// What that takes, keys included.
    bytes: u64,
    /// Keys whose present value, or absence, the keeper does not have yet.
    unwritten: BTreeSet<String>,
    /// Whether what was kept before is among the values.
    is_read: bool,
}

impl Values {
    pub(crate) fn new(keeper: Arc<dyn ValueKeeper>) -> Self {
        Self {
            keeper,
            of_plugins: Mutex::default(),
            changed: Arc::default(),
            round: tokio::sync::Mutex::default(),
        }
    }

    /// The values of a plugin, with what it kept before where that can be read now.
    pub(crate) async fn of(&self, plugin: &str) -> Arc<PluginValues> {
        let values = {
            let mut of_plugins = self.of_plugins.lock();
            let entry = of_plugins.entry(plugin.to_owned());
            Arc::clone(entry.or_insert_with(|| {
                Arc::new(PluginValues {
                    held: Mutex::default(),
                    changed: Arc::clone(&self.changed),
                })
            }))
        };
        if let Err(error) = self.read(plugin, &values).await {
            tracing::warn!(
                plugin,
                error = %error,
                "values of a plugin cannot be read: it starts without them"
            );
            self.changed.notify_one();
        }
        values
    }

    async fn read(&self, plugin: &str, values: &PluginValues) -> Result<(), ValueError> {
        if values.held.lock().is_read {
            return Ok(());
        }
        let kept = within(LOAD_WITHIN, self.keeper.load(plugin)).await?;
        values.held.lock().merge(kept);
        Ok(())
    }

    /// Reads and writes what waits for it, until `ends`.
    pub(crate) async fn sync(&self, ends: CancellationToken) {
        let mut is_away = false;
        loop {
            let next = async {
                if is_away {
                    tokio::time::sleep(RETRY_EVERY).await;
                } else {
                    self.changed.notified().await;
                    tokio::time::sleep(GATHER).await;
                }
            };
            tokio::select! {
                () = next => {}
                () = ends.cancelled() => return,
            }
            let result = self.round().await;
            match (&result, is_away) {
                (Err(error), false) => tracing::warn!(
                    error = %error,
                    "values of plugins not saved: kept in memory until the database is reachable"
                ),
                (Ok(()), true) => tracing::info!("values of plugins saved again"),
                _ => {}
            }
            is_away = result.is_err();
        }
    }

    /// The last round, bounded.
    pub(crate) async fn finish(&self) {
        if !matches!(timeout(FINISH_WITHIN, self.round()).await, Ok(Ok(()))) {
            let of_plugins = self.of_plugins.lock();
            for (plugin, values) in of_plugins.iter() {
                let count = values.unwritten();
                if count > 0 {
                    tracing::error!(
                        plugin,
                        count,
                        "values of a plugin lost: not saved before the end"
                    );
                }
            }
        }
    }

    /// Reads and writes everything that waits. What cannot be done goes on waiting.
    async fn round(&self) -> Result<(), ValueError> {
        let _one_at_a_time = self.round.lock().await;
        let all: Vec<(String, Arc<PluginValues>)> = {
            let of_plugins = self.of_plugins.lock();
            let all = of_plugins.iter();
            all.map(|(plugin, values)| (plugin.clone(), Arc::clone(values)))
                .collect()
        };
        for (plugin, values) in &all {
            // Written only after that: until then it is not known whether there is anything to forget.
            self.read(plugin, values).await?;
            self.write(plugin, values).await?;
        }
        drop(all);
        // Those of plugins that are gone, once everything of theirs is written.
        self.of_plugins
            .lock()
            .retain(|_, values| Arc::strong_count(values) > 1 || values.unwritten() > 0);
        Ok(())
    }

    async fn write(&self, plugin: &str, values: &PluginValues) -> Result<(), ValueError> {
        let keys: Vec<String> = values.held.lock().unwritten.iter().cloned().collect();
        for key in keys {
            let value = {
                let mut held = values.held.lock();
                // What is changed from here on waits for another round.
                held.unwritten.remove(&key);
                held.values.get(&key).cloned()
            };
            match within(KEEP_WITHIN, self.keeper.save(plugin, &key, value)).await {
                Ok(()) => {}
                Err(ValueError::Refused(reason)) => {
                    tracing::warn!(
                        plugin,
                        reason,
                        "value of a plugin refused by the database: kept in memory only"
                    );
                }
                Err(away) => {
                    values.held.lock().unwritten.insert(key);
                    return Err(away);
                }
            }
        }
        Ok(())
    }
}

async fn within<T>(
    within: Duration,
    work: impl Future<Output = Result<T, ValueError>>,
) -> Result<T, ValueError> {
    let late = |_| ValueError::Unavailable(format!("no answer within {} s", within.as_secs()));
    timeout(within, work).await.map_err(late)?
}

fn size(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

fn is_key(key: &str) -> bool {
    // Postgres holds no NUL in a text.
    (1..=KEY_BYTES_MAX).contains(&key.len()) && !key.contains('\0')
}

impl Held {
    /// Puts what was kept before under what was changed since.
    fn merge(&mut self, kept: Kept) {
        if std::mem::replace(&mut self.is_read, true) {
            return;
        }
        for (key, value) in kept {
            if !self.unwritten.contains(&key) {
                self.bytes += size(&key, &value);
                self.values.insert(key, value);
            }
        }
    }

    /// Whether one more key may wait for the keeper.
    fn may_wait(&self, key: &str) -> bool {
        self.unwritten.len() < UNWRITTEN_MAX || self.unwritten.contains(key)
    }
}

impl PluginValues {
    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.held.lock().values.get(key).cloned()
    }

    /// How many values the keeper does not have yet.
    pub(crate) fn unwritten(&self) -> usize {
        self.held.lock().unwritten.len()
    }

    pub(crate) fn set(
        &self,
        key: String,
        value: Vec<u8>,
        bytes_max: u64,
    ) -> Result<(), StoreError> {
        if !is_key(&key) {
            return Err(StoreError::BadKey);
        }
        if value.len() > VALUE_BYTES_MAX {
            return Err(StoreError::Full);
        }
        let mut held = self.held.lock();
        let old = held.values.get(&key);
        if old == Some(&value) {
            return Ok(());
        }
        let is_new = old.is_none();
        let after = held.bytes - old.map_or(0, |old| size(&key, old)) + size(&key, &value);
        // What was read may be more than what may be kept by now: it may shrink.
        let is_too_much = after > bytes_max && after > held.bytes;
        if is_too_much || (is_new && held.values.len() >= KEYS_MAX) || !held.may_wait(&key) {
            return Err(StoreError::Full);
        }
        held.bytes = after;
        held.unwritten.insert(key.clone());
        held.values.insert(key, value);
        self.changed.notify_one();
        Ok(())
    }

    pub(crate) fn delete(&self, key: &str) {
        let mut held = self.held.lock();
        if let Some(old) = held.values.remove(key) {
            held.bytes -= size(key, &old);
        } else if held.is_read || !is_key(key) || !held.may_wait(key) {
            return;
        }
        held.unwritten.insert(key.to_owned());
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests;
