//! Sinks among the plugins. What is loaded, limited, quarantined and asked of the plugins of some kinds is not the file but each sink
//! that names it, with the settings of its own `[sink.NAME]`: so that one whose receiver hangs mutes no other.
//!
//! A sink has an entry of its own in the registry, beside that of its plugin's file, which is only examined there.

use std::collections::{BTreeMap, BTreeSet};

use toml::Table;

use crate::{
    Grants, NamedPolicies, PluginSettings, SinkDefinition, conditions::are_rules,
    directory::ListedFile, rejection::Rejection, shared::EngineShared,
};

/// Most sinks that are loaded: each keeps a store ahead, and has as many as calls of it may be in progress. An organisation has a
/// handful of channels.
pub(crate) const SINKS_MAX: usize = 32;

/// What the entries of sinks begin with. The name of a file cannot: it has no dot.
const PREFIX: &str = "sink.";

/// What the operator configured for one entry.
pub(crate) struct EntrySettings<'a> {
    /// Its place in the configuration: `plugins.config.NAME`, `sink.NAME.config`.
    pub(crate) config_path: String,
    pub(crate) config: Option<&'a Table>,
    pub(crate) sink: Option<&'a SinkDefinition>,
    pub(crate) grants: Grants,
}

/// The entry of a sink.
pub(crate) fn entry_of(sink: &str) -> String {
    format!("{PREFIX}{sink}")
}

/// Whether an entry is a sink's.
pub(crate) fn is_sink(entry: &str) -> bool {
    entry.starts_with(PREFIX)
}

impl PluginSettings {
    /// Adds the sinks to the files that were found: each is made of the file of its plugin.
    pub(crate) fn add_sinks(&self, found: &mut BTreeMap<String, Result<ListedFile, Rejection>>) {
        for (at, (name, sink)) in self.sinks.iter().enumerate() {
            let Some(file) = found.get(&sink.plugin) else {
                continue;
            };
            let listed = if at < SINKS_MAX {
                file.clone()
            } else {
                let reason = format!("there are {SINKS_MAX} sinks already: take one away");
                Err(Rejection::new("too_many", reason))
            };
            found.insert(entry_of(name), listed);
        }
    }

    /// What is configured for an entry.
    pub(crate) fn of_entry(&self, entry: &str) -> EntrySettings<'_> {
        let sink = self.sink_of(entry);
        match sink {
            Some(sink) => EntrySettings {
                config_path: format!("{entry}.config"),
                config: Some(&sink.config),
                sink: Some(sink),
                grants: Grants {
                    http: sink.egress.allow.iter().map(ToString::to_string).collect(),
                    secrets: sink.egress.secrets.keys().cloned().collect(),
                },
            },
            None => EntrySettings {
                config_path: format!("plugins.config.{entry}"),
                config: self.config.get(entry),
                sink: None,
                grants: Grants::default(),
            },
        }
    }

    fn sink_of(&self, entry: &str) -> Option<&SinkDefinition> {
        self.sinks.get(entry.strip_prefix(PREFIX)?)
    }

    /// Everything that is configured for an entry, as a text that is another one when any of it is.
    pub(crate) fn fingerprint(&self, entry: &str) -> String {
        let EntrySettings { config, sink, .. } = self.of_entry(entry);
        let (plugin, egress) = sink
            .map(|sink| (&sink.plugin, sink.egress.fingerprint()))
            .unzip();
        let limits = &self.limits;
        serde_json::json!({
            "config": config, "limits": limits, "plugin": plugin, "egress": egress,
        })
        .to_string()
    }
}

impl EngineShared {
    /// Whether an entry is that of a sink which is configured no more.
    pub(crate) fn is_former_sink(&self, entry: &str) -> bool {
        is_sink(entry) && self.settings.lock().sink_of(entry).is_none()
    }

    /// What has to be there: what policies name, and sinks, which are named for no question of a policy.
    pub(crate) fn named(&self) -> NamedPolicies {
        let mut named = self.policies.lock().clone().unwrap_or_default();
        for sink in self.settings.lock().sinks.keys() {
            named.insert(entry_of(sink), BTreeSet::new());
        }
        named
    }

    /// The same, with the plugins that sinks name; `None`: any plugin may be asked.
    pub(crate) fn in_use(&self) -> Option<NamedPolicies> {
        self.policies.lock().as_ref()?;
        let mut in_use = self.named();
        for sink in self.settings.lock().sinks.values() {
            in_use.entry(sink.plugin.clone()).or_default();
        }
        Some(in_use)
    }

    /// Why what is named is not there.
    pub(crate) fn missing_reason(&self, name: &str) -> String {
        let directory = self.plugins_dir.display();
        let is_rule = {
            let policies = self.policies.lock();
            let kinds = policies.as_ref().and_then(|named| named.get(name));
            kinds.is_some_and(are_rules)
        };
        let settings = self.settings.lock();
        match settings.sink_of(name) {
            Some(SinkDefinition { plugin, .. }) => format!(
                "[{name}] names the plugin {plugin}, and {directory} holds no {plugin}.wasm: put it there, or correct the name"
            ),
            None if is_rule => format!(
                "alerts.rules names it, and {directory} holds no {name}.wasm: put it there, or correct the name"
            ),
            None => format!(
                "a policy names it, and {directory} holds no {name}.wasm: put it there, or correct the policy's name"
            ),
        }
    }
}
