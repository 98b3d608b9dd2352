//! `[plugins]`: where plugins come from, what bounds them, how each is configured and what each may reach.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use router_values::{Origin, Secret};

use crate::{
    PluginName,
    node::to_toml,
    reader::ConfigSection,
    value::{HttpOrigin, PathText, VariableName},
};

/// `[plugins]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Plugins {
    /// The watched directory.
    pub dir: PathBuf,
    /// `[plugins.limits]`: what one call may take.
    pub limits: PluginLimits,
    /// `[plugins.config.NAME]`: the configuration of each plugin. Its meaning is the plugin's own.
    pub config: BTreeMap<PluginName, toml::Table>,
    /// `[plugins.grants.NAME]`: what each plugin may reach.
    pub grants: BTreeMap<PluginName, PluginGrants>,
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
pub struct PluginGrants {
    /// Where it may send HTTP requests.
    pub http: Vec<Origin>,
    /// Names of the secrets that it may read.
    pub secret_names: BTreeSet<String>,
    /// Those of them that the environment holds (`NAME` or `NAME_FILE`).
    pub secrets: BTreeMap<String, Secret>,
}

impl Plugins {
    pub(crate) fn read(root: &ConfigSection<'_, '_>) -> Self {
        let section = root.child("plugins");
        let working_dir = root.reader.environment.working_dir();
        let plugins = Self {
            dir: working_dir.join(
                section
                    .key("dir")
                    .restart()
                    .or(PathText("plugins/dist".into()))
                    .0,
            ),
            limits: PluginLimits::read(&section),
            config: read_config(&section),
            grants: read_grants(&section),
        };
        section.close();
        plugins
    }
}

impl PluginLimits {
    /// The defaults, and the reason for each, are the engine's.
    fn read(outer: &ConfigSection<'_, '_>) -> Self {
        let section = outer.child("limits");
        let ms = Duration::from_millis;
        let limits = Self {
            call_timeout: section
                .key("call_timeout")
                .within(ms(1), ms(60_000))
                .or(ms(50)),
            memory_bytes: section.key("max_memory_mb").within(1, 4_096).or(64_u64) << 20,
            host_calls: section.key("max_host_calls").within(1, 1_000_000).or(1_000),
            log_bytes: section.key("max_log_kb").within(0, 65_536).or(64_u64) << 10,
            store_bytes: section
                .key("max_store_kb")
                // As much as the database keeps of one plugin.
                .within(0, 4_096)
                .or(4_096_u64)
                << 10,
            file_bytes: section.key("max_file_mb").within(1, 1_024).or(64_u64) << 20,
        };
        section.close();
        limits
    }
}

fn read_name(section: &ConfigSection<'_, '_>, name: &str) -> Option<PluginName> {
    let parsed = PluginName::parse(name).ok();
    if parsed.is_none() {
        let what = "this is not the name of a plugin";
        let remedy =
            "a plugin is called as its file, without .wasm: lower-case letters, digits, - and _";
        section
            .reader
            .fault(section.place(), section.path(), what, remedy);
    }
    parsed
}

fn read_config(outer: &ConfigSection<'_, '_>) -> BTreeMap<PluginName, toml::Table> {
    let mut all = BTreeMap::new();
    for (name, section) in outer.named("config") {
        let name = read_name(&section, &name);
        let Some(table) = section.whole() else {
            continue;
        };
        match (name, to_toml(table)) {
            (Some(name), Ok(config)) => {
                all.insert(name, config);
            }
            (None, Ok(_)) => {}
            (_, Err((at, what))) => {
                let place = section.reader.place(at);
                section.reader.fault(
                    place,
                    section.path(),
                    what,
                    "write it in double quotes, as a string",
                );
            }
        }
    }
    all
}

fn read_grants(outer: &ConfigSection<'_, '_>) -> BTreeMap<PluginName, PluginGrants> {
    let mut all = BTreeMap::new();
    for (name, section) in outer.named("grants") {
        let name = read_name(&section, &name);
        let http: Vec<HttpOrigin> = section.key("http").or(Vec::new());
        let names: Vec<VariableName> = section.key("secrets").or(Vec::new());
        let mut grants = PluginGrants {
            http: http.into_iter().map(|origin| origin.0).collect(),
            ..PluginGrants::default()
        };
        for VariableName(name) in names {
            match section.reader.granted_secret(&section.key_path("secrets"), &name) {
                Some(secret) => {
                    grants.secrets.insert(name.clone(), secret);
                }
                None => section.reader.notice(
                    section.key_path("secrets"),
                    format!("{name} is granted, but neither {name} nor {name}_FILE is set: the plugin will not find it"),
                ),
            }
            grants.secret_names.insert(name);
        }
        section.close();
        if let Some(name) = name {
            all.insert(name, grants);
        }
    }
    all
}
