//! The plugin engine as the other rooms use it: its options, its answers, its events, and where plugins' values are kept.

use std::{collections::BTreeMap, sync::Arc};

use router_config::Config;
use router_core::{event::NoAnswer, health::HealthFacts};
use router_engine::{
    Engine, EngineEvent, EngineOptions, FailureKind, Grants, Limits, Loaded, PluginSettings,
    ValueKeeper,
};
use router_store::Store;
use router_supervisor::DataDir;
use router_telemetry::PluginFigures;
use tokio::sync::mpsc;

use crate::{driver::Judgement, meters::Meters};

/// The policy that is no plugin: the core's own rule answers.
const BUILT_IN: &str = "builtin";

/// Changed values that may wait for the database. Past it they are kept in memory only, and that is said.
const VALUES_MAX: usize = 1024;

/// The engine's options. Must be called within a runtime, which writes the plugins' values.
pub(crate) fn options(config: &Config, store: &Store, data_dir: &DataDir) -> EngineOptions {
    EngineOptions {
        plugins_dir: config.plugins.dir.clone(),
        cache_dir: Some(data_dir.path().join("plugin-cache")),
        settings: settings(config),
        values: Arc::new(StoredValues::new(store.clone())),
    }
}

/// What a reload may change.
pub(crate) fn settings(config: &Config) -> PluginSettings {
    let plugins = &config.plugins;
    let limits = &plugins.limits;
    PluginSettings {
        config: plugins
            .config
            .iter()
            .map(|(name, table)| (name.to_string(), table.clone()))
            .collect(),
        grants: plugins
            .grants
            .iter()
            .map(|(name, grants)| {
                let grants = Grants {
                    http: grants.http.iter().map(ToString::to_string).collect(),
                    secrets: grants.secret_names.iter().cloned().collect(),
                };
                (name.to_string(), grants)
            })
            .collect(),
        limits: Limits {
            call_timeout: limits.call_timeout,
            memory_bytes: limits.memory_bytes,
            host_calls: limits.host_calls,
            log_bytes: limits.log_bytes,
            store_bytes: limits.store_bytes,
            file_bytes: limits.file_bytes,
        },
    }
}

/// Asks a health policy. The caller bounds the wait.
pub(crate) fn judge(
    (engine, meters): (Engine, Arc<Meters>),
    policy: Arc<str>,
    facts: Box<HealthFacts>,
) -> Judgement {
    Box::pin(async move {
        if &*policy == BUILT_IN {
            return Err(NoAnswer::Absent);
        }
        match engine.judge(&policy, *facts).await {
            Some(Ok(verdict)) => Ok(verdict),
            Some(Err(failure)) => {
                meters.plugin_failed();
                tracing::debug!(plugin = &*policy, reason = %failure, "a policy did not answer");
                Err(match failure.kind {
                    FailureKind::Timeout => NoAnswer::TimedOut,
                    FailureKind::Trap | FailureKind::Limit | FailureKind::Start => {
                        NoAnswer::Trapped
                    }
                })
            }
            None => Err(NoAnswer::Absent),
        }
    })
}

/// Says what happened to a plugin.
pub(crate) fn log(event: &EngineEvent) {
    match event {
        EngineEvent::Swapped {
            plugin,
            generation,
            summary,
        } => tracing::info!(
            plugin,
            generation,
            reason = summary,
            "a plugin was taken into service"
        ),
        EngineEvent::Refused {
            plugin,
            reason,
            serving,
        } => tracing::error!(plugin, generation = serving, reason, "a plugin was refused"),
        EngineEvent::Quarantined {
            plugin,
            reason,
            pause,
        } => tracing::error!(
            plugin,
            reason,
            elapsed_ms = crate::clock::millis(*pause),
            "a plugin was put into quarantine; the built-in default answers"
        ),
        EngineEvent::Released { plugin } => {
            tracing::info!(
                plugin,
                "a plugin answers again and was let out of quarantine"
            );
        }
        EngineEvent::Removed { plugin } => {
            tracing::warn!(plugin, "a plugin is gone; the built-in default answers");
        }
    }
}

/// What the metrics show of plugins.
pub(crate) fn figures(engine: &Engine) -> Vec<PluginFigures> {
    let views = engine.list().into_iter();
    views
        .map(|view| PluginFigures {
            kind: view.world.to_owned(),
            generation: view.generation,
            quarantined: view.state == "quarantined",
            calls: view.calls,
            call_time: view.call_time,
            failures: owned(view.failures_by_kind),
            reloads: view.reloads,
            refusals: owned(view.refusals),
            name: view.name,
        })
        .collect()
}

fn owned(counts: BTreeMap<&'static str, u64>) -> Vec<(String, u64)> {
    let counts = counts.into_iter();
    counts
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}

/// Plugins' values in the store, written one after the other.
struct StoredValues {
    store: Store,
    changes: mpsc::Sender<Change>,
}

struct Change {
    plugin: String,
    key: String,
    value: Option<Vec<u8>>,
}

impl StoredValues {
    fn new(store: Store) -> Self {
        let (changes, mut waiting) = mpsc::channel::<Change>(VALUES_MAX);
        let writer = store.clone();
        // Ends when the engine, which holds the other end, does.
        tokio::spawn(async move {
            while let Some(Change { plugin, key, value }) = waiting.recv().await {
                let written = match value {
                    Some(value) => writer.kv_put(&plugin, &key, &value).await,
                    None => writer.kv_delete(&plugin, &key).await.map(|_| ()),
                };
                if let Err(error) = written {
                    tracing::warn!(plugin, error = %error, "a value of a plugin is kept in memory only");
                }
            }
        });
        Self { store, changes }
    }
}

impl ValueKeeper for StoredValues {
    fn load(&self, plugin: &str) -> Loaded {
        let (store, plugin) = (self.store.clone(), plugin.to_owned());
        Box::pin(async move {
            let mut values = BTreeMap::new();
            let read = async {
                for key in store.kv_list(&plugin, "").await? {
                    if let Some(value) = store.kv_get(&plugin, &key).await? {
                        values.insert(key, value);
                    }
                }
                Ok::<_, router_store::StoreError>(())
            };
            if let Err(error) = read.await {
                tracing::warn!(plugin, error = %error, "what a plugin kept cannot be read");
            }
            values
        })
    }

    fn changed(&self, plugin: &str, key: &str, value: Option<Vec<u8>>) {
        let change = Change {
            plugin: plugin.to_owned(),
            key: key.to_owned(),
            value,
        };
        if self.changes.try_send(change).is_err() {
            tracing::warn!(
                plugin,
                "a value of a plugin is kept in memory only: too many wait"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use router_config::{Environment, load};
    use router_engine::Limits;

    #[test]
    fn the_documented_bounds_are_those_of_the_engine() {
        let environment = Environment::new(Path::new("/"), [("", ""); 0]);
        let config = load("", Path::new("router.toml"), &environment).unwrap();
        assert_eq!(super::settings(&config).limits, Limits::default());
    }
}
