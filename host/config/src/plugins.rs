//! `[plugins]`: where plugins come from, what bounds them, what each is told and what each may reach.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use crate::{Origin, PluginName, Secret};

/// `[plugins]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Plugins {
    /// The watched directory.
    pub dir: PathBuf,
    /// `[plugins.limits]`: what one call may take.
    pub limits: PluginLimits,
    /// `[plugins.config.NAME]`: what each plugin is told. Its meaning is the plugin's own.
    pub config: BTreeMap<PluginName, toml::Table>,
    /// `[plugins.grants.NAME]`: what each plugin may reach.
    pub grants: BTreeMap<PluginName, Grants>,
}

/// `[plugins.limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginLimits {
    /// Wall time of one call.
    pub call_timeout: Duration,
    /// Linear memory of one store, in bytes.
    pub memory_bytes: u64,
    /// Calls to the host within one call.
    pub host_calls: u32,
    /// Bytes that one call may log.
    pub log_bytes: u64,
    /// Bytes that a plugin may keep in its key-value store.
    pub store_bytes: u64,
    /// Longest file that is loaded, in bytes.
    pub file_bytes: u64,
}

/// `[plugins.grants.NAME]`. Whatever is not granted is denied.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Grants {
    /// Where it may send HTTP requests.
    pub http: Vec<Origin>,
    /// Names of the secrets that it may read.
    pub secret_names: BTreeSet<String>,
    /// Those of them that the environment holds (`NAME` or `NAME_FILE`).
    pub secrets: BTreeMap<String, Secret>,
}
