//! What calls, the loader and the watcher share.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::{
    Conditions, EngineOptions, NamedPolicies, PluginSettings, event::EngineEvent, machine::Machine,
    registry::Entry, trials::TrialRecords, values::Values,
};

/// See the module.
pub(crate) struct EngineShared {
    pub(crate) machine: Arc<Machine>,
    pub(crate) plugins_dir: PathBuf,
    pub(crate) name_fault: fn(&str) -> Option<String>,
    pub(crate) settings: Mutex<PluginSettings>,
    pub(crate) policies: Mutex<Option<NamedPolicies>>,
    pub(crate) values: Values,
    pub(crate) plugins: Mutex<BTreeMap<String, Entry>>,
    /// What the operator had configured for each plugin when it was last loaded or refused.
    pub(crate) applied: Mutex<HashMap<String, String>>,
    /// Those of the policies that were not there at the last scan, if there was one.
    pub(crate) missing: Mutex<Option<BTreeSet<String>>>,
    /// Why the directory could not be read at the last scan.
    pub(crate) fault: Mutex<Option<String>>,
    /// What is remembered of generations; `None`: none is tried, and every one that loads is in force.
    pub(crate) trials: Option<Arc<TrialRecords>>,
    /// What is wrong now.
    pub(crate) conditions: watch::Sender<Conditions>,
    /// Held by the scan in progress.
    pub(crate) scan: tokio::sync::Mutex<()>,
    /// Changes with every event.
    pub(crate) happened: watch::Sender<()>,
    events: mpsc::Sender<EngineEvent>,
}

impl EngineShared {
    pub(crate) fn new(
        machine: Machine,
        options: EngineOptions,
        events: mpsc::Sender<EngineEvent>,
    ) -> Self {
        Self {
            machine: Arc::new(machine),
            plugins_dir: options.plugins_dir,
            name_fault: options.name_fault,
            settings: Mutex::new(options.settings),
            policies: Mutex::new(options.policies),
            values: Values::new(options.values),
            plugins: Mutex::default(),
            applied: Mutex::default(),
            missing: Mutex::default(),
            fault: Mutex::default(),
            trials: options
                .trials_dir
                .map(|dir| Arc::new(TrialRecords::open(dir))),
            conditions: watch::Sender::default(),
            scan: tokio::sync::Mutex::default(),
            happened: watch::Sender::default(),
            events,
        }
    }

    /// Reports an event; never waits.
    pub(crate) fn emit(&self, event: EngineEvent) {
        self.happened.send_replace(());
        if self.events.try_send(event).is_err() {
            tracing::warn!("plugin event dropped: too many wait");
        }
    }

    /// Ends quarantines of plugins that no policy uses.
    pub(crate) fn lapse_quarantines(&self) {
        let policies = self.in_use();
        let now = Instant::now();
        let mut lapsed = Vec::new();
        for (name, entry) in self.plugins.lock().iter_mut() {
            if entry.lapse(is_in_use(policies.as_ref(), name), now) {
                lapsed.push(name.clone());
            }
        }
        for plugin in lapsed {
            self.emit(EngineEvent::Lapsed { plugin });
        }
    }

    /// Notes which plugins policies name that are not there, and reports each once.
    pub(crate) fn note_missing(&self) -> BTreeSet<String> {
        let named = self.named();
        let missing: BTreeSet<String> = {
            let plugins = self.plugins.lock();
            let missing = named.into_keys();
            missing.filter(|name| !plugins.contains_key(name)).collect()
        };
        let before = self.missing.lock().replace(missing.clone());
        for plugin in missing.difference(&before.unwrap_or_default()) {
            self.emit(EngineEvent::Missing {
                plugin: plugin.clone(),
            });
        }
        missing
    }
}

/// Whether a policy names a plugin.
pub(crate) fn is_in_use(policies: Option<&NamedPolicies>, name: &str) -> bool {
    policies.is_none_or(|policies| policies.contains_key(name))
}
