//! `[plugins]`: where plugins come from, what bounds them and how each is configured.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use router_values::quoted;

use crate::{
    PluginName,
    names::is_variable,
    node::to_toml,
    reader::ConfigSection,
    value::{PathText, Value as _},
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
        };
        refuse_grants(&section);
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
        let config = read_plugin_table(&section);
        all.extend(name.zip(config));
    }
    all
}

/// What a plugin is configured with. Its meaning is the plugin's own.
pub(crate) fn read_plugin_table(section: &ConfigSection<'_, '_>) -> Option<toml::Table> {
    let read = to_toml(section.whole()?);
    read.map_err(|(at, what)| {
        let place = section.reader.place(at);
        let remedy = "write it in double quotes, as a string";
        section.reader.fault(place, section.path(), what, remedy);
    })
    .ok()
}

/// What a plugin was once granted is now of the sink that it serves.
fn refuse_grants(outer: &ConfigSection<'_, '_>) {
    for (name, section) in outer.former("grants") {
        let Some(table) = section.whole() else {
            continue;
        };
        let texts = |key: &str| {
            let entry = table.entries.get(key);
            let texts = entry.and_then(|entry| Vec::<String>::read(&entry.node.raw).ok());
            texts.unwrap_or_default()
        };
        let name =
            PluginName::parse(&name).map_or_else(|_| "NAME".to_owned(), |name| name.to_string());
        let secrets = texts("secrets").into_iter();
        let secrets = secrets.filter(|variable| is_variable(variable));
        let secrets = secrets.map(|variable| {
            let lower = variable.to_ascii_lowercase();
            let before = format!("{}_", name.replace('-', "_"));
            let placeholder = lower.strip_prefix(&before).unwrap_or(&lower);
            format!("{placeholder} = \"{variable}\"")
        });
        let secrets: Vec<String> = secrets.collect();
        let allow: Vec<String> = texts("http").iter().map(|origin| quoted(origin)).collect();
        let mut keys = format!("plugin = \"{name}\"");
        if !secrets.is_empty() {
            keys = format!("{keys}, secrets = {{ {} }}", secrets.join(", "));
        }
        if !allow.is_empty() {
            keys = format!("{keys}, allow = [{}]", allow.join(", "));
        }
        let what = "is no more: what a plugin may reach belongs to the sink that it serves";
        let remedy = format!("write a section [sink.{name}] in its place, with {keys}");
        section
            .reader
            .fault(section.place(), section.path(), what, remedy);
    }
}
