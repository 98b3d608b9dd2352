//! The values that plugins keep: held in memory, because a guest's call must not wait for a database, and handed to a keeper
//! that makes them outlive the router.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

use crate::bindings::host::StoreError;

/// Longest key and value, as `wit/host.wit` states them.
const KEY_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Most keys per plugin: a policy keeps counters and small tables.
const KEYS_MAX: usize = 1_000;

/// How long a plugin waits for what it kept before it starts with nothing.
const LOAD_WITHIN: Duration = Duration::from_secs(2);

/// What a plugin had kept.
pub type Loaded = Pin<Box<dyn Future<Output = BTreeMap<String, Vec<u8>>> + Send>>;

/// Makes values outlive the router.
pub trait ValueKeeper: Send + Sync {
    /// Everything that a plugin kept.
    fn load(&self, plugin: &str) -> Loaded;

    /// A value was kept, or forgotten. Must not block; called in the order of the changes.
    fn changed(&self, plugin: &str, key: &str, value: Option<Vec<u8>>);
}

/// Nothing outlives the router.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoValues;

impl ValueKeeper for NoValues {
    fn load(&self, _: &str) -> Loaded {
        Box::pin(async { BTreeMap::new() })
    }

    fn changed(&self, _: &str, _: &str, _: Option<Vec<u8>>) {}
}

/// The values of all plugins. They stay where generations come and go.
pub(crate) struct Values {
    keeper: Arc<dyn ValueKeeper>,
    of_plugins: Mutex<HashMap<String, Arc<PluginValues>>>,
}

/// The values of one plugin.
pub(crate) struct PluginValues {
    plugin: String,
    keeper: Arc<dyn ValueKeeper>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    values: BTreeMap<String, Vec<u8>>,
    bytes: u64,
}

impl Values {
    pub(crate) fn new(keeper: Arc<dyn ValueKeeper>) -> Self {
        Self {
            keeper,
            of_plugins: Mutex::default(),
        }
    }

    /// The values of a plugin, read once from the keeper.
    pub(crate) async fn of(&self, plugin: &str) -> Arc<PluginValues> {
        if let Some(values) = self.of_plugins.lock().get(plugin) {
            return Arc::clone(values);
        }
        let loaded = tokio::time::timeout(LOAD_WITHIN, self.keeper.load(plugin)).await;
        if loaded.is_err() {
            tracing::warn!(plugin, "what the plugin kept could not be read in time");
        }
        let values = loaded.unwrap_or_default();
        let bytes = values.iter().map(|(key, value)| size(key, value)).sum();
        let fresh = Arc::new(PluginValues {
            plugin: plugin.to_owned(),
            keeper: Arc::clone(&self.keeper),
            held: Mutex::new(Held { values, bytes }),
        });
        let mut of_plugins = self.of_plugins.lock();
        Arc::clone(of_plugins.entry(plugin.to_owned()).or_insert(fresh))
    }
}

fn size(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

impl PluginValues {
    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.held.lock().values.get(key).cloned()
    }

    pub(crate) fn set(
        &self,
        key: String,
        value: Vec<u8>,
        bytes_max: u64,
    ) -> Result<(), StoreError> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(StoreError::BadKey);
        }
        if value.len() > VALUE_BYTES_MAX {
            return Err(StoreError::Full);
        }
        let mut held = self.held.lock();
        let before = held.values.get(&key).map_or(0, |old| size(&key, old));
        let after = held.bytes - before + size(&key, &value);
        let is_new = before == 0;
        if after > bytes_max || (is_new && held.values.len() >= KEYS_MAX) {
            return Err(StoreError::Full);
        }
        held.bytes = after;
        self.keeper.changed(&self.plugin, &key, Some(value.clone()));
        held.values.insert(key, value);
        Ok(())
    }

    pub(crate) fn delete(&self, key: &str) {
        let mut held = self.held.lock();
        if let Some(old) = held.values.remove(key) {
            held.bytes -= size(key, &old);
            self.keeper.changed(&self.plugin, key, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{NoValues, StoreError, Values};

    #[tokio::test]
    async fn values_are_bounded_and_freed() {
        let values = Values::new(Arc::new(NoValues)).of("p").await;
        assert_eq!(values.set("a".into(), vec![0; 99], 100), Ok(()));
        assert!(matches!(
            values.set("b".into(), vec![0], 100),
            Err(StoreError::Full)
        ));
        assert_eq!(values.set("a".into(), vec![1; 50], 100), Ok(()));
        assert_eq!(values.set("b".into(), vec![2; 48], 100), Ok(()));
        values.delete("a");
        assert_eq!(values.get("a"), None);
        assert_eq!(values.get("b"), Some(vec![2; 48]));
        assert_eq!(values.set("c".into(), vec![3; 50], 100), Ok(()));
        assert!(matches!(
            values.set(String::new(), vec![], 100),
            Err(StoreError::BadKey)
        ));
        assert!(matches!(
            values.set("k".repeat(257), vec![], 1000),
            Err(StoreError::BadKey)
        ));
    }
}
