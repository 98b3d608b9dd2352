//! What an engine is started with, each bound with the reason for its default.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use router_core::policy::PolicyKind;
use router_egress::EgressOptions;
use serde::Serialize;

use crate::ValueKeeper;

/// The plugins that policies name, and the kinds of question that they name each for.
pub type NamedPolicies = BTreeMap<String, BTreeSet<PolicyKind>>;

/// Everything that an engine needs.
#[derive(Clone)]
pub struct EngineOptions {
    /// The watched directory; `NAME.wasm` with an optional `NAME.toml` beside it. It may appear later.
    pub plugins_dir: PathBuf,
    /// Where decisions about generations are kept, and copies of those in force. `None`: none is tried, and every one that loads is
    /// in force.
    pub trials_dir: Option<PathBuf>,
    /// Where compiled plugins are kept, so that a restart compiles nothing; `None`: nowhere.
    pub cache_dir: Option<PathBuf>,
    /// What each plugin and each sink is configured, and the bounds of all.
    pub settings: PluginSettings,
    /// The plugins that a policy names ([`crate::Engine::use_policies`]); `None`: any may be asked.
    pub policies: Option<NamedPolicies>,
    /// What is wrong with a file's name as the name of a plugin, by the rule of the configuration, which names plugins so.
    pub name_fault: fn(&str) -> Option<String>,
    /// Where the values that plugins keep outlive the router.
    pub values: Arc<dyn ValueKeeper>,
    /// Whether address space for all stores is reserved at the start, terabytes and no memory, which makes a store cheap.
    /// Where the system does not give it, stores are made one by one all the same.
    pub reserve_address_space: bool,
}

/// The part of the options that a reload may change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PluginSettings {
    /// `[plugins.config.NAME]`.
    pub config: BTreeMap<String, toml::Table>,
    /// `[sink.NAME]`: the destinations of alerts.
    pub sinks: BTreeMap<String, SinkDefinition>,
    /// The bounds on each call.
    pub limits: Limits,
}

/// What a sink is made of beside the file of its plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkDefinition {
    /// The plugin that serves it, and that may serve others.
    pub plugin: String,
    /// `config`.
    pub config: toml::Table,
    /// `allow`, `secrets`, `ca_file` and `proxy`.
    pub egress: EgressOptions,
}

/// What the operator lets a plugin reach. Whatever is not here is denied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Grants {
    /// `scheme://host[:port]`.
    pub http: Vec<String>,
    /// Names of secrets.
    pub secrets: Vec<String>,
}

/// The bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// How long one call may run. How long it may take by the clock depends on its kind.
    #[serde(serialize_with = "as_millis", rename = "callTimeoutMs")]
    pub call_timeout: Duration,
    /// Linear memory of one store, all its memories together. A plugin has as many stores as calls of it may be in progress.
    pub memory_bytes: u64,
    /// Calls to the host within one call, those to WASI included.
    pub host_calls: u32,
    /// Bytes that one call may log.
    pub log_bytes: u64,
    /// Bytes that a plugin may keep.
    pub store_bytes: u64,
    /// Longest file that is loaded.
    pub file_bytes: u64,
}

fn as_millis<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A call takes microseconds; an interpreted guest takes half a millisecond.
            call_timeout: Duration::from_millis(50),
            // An interpreter with its heap.
            memory_bytes: 64 * 1024 * 1024,
            host_calls: 1_000,
            log_bytes: 64 * 1024,
            store_bytes: 4 * 1024 * 1024,
            // componentize-py makes 18 MB.
            file_bytes: 64 * 1024 * 1024,
        }
    }
}
