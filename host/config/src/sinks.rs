//! `[sink.NAME]`: where alerts are delivered, by which plugin and with which secrets.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use router_alerts::settings::{Grouping, SinkSettings};
use router_values::{Origin, Proxy, Secret};

use crate::{
    Applies, PluginName, SinkName,
    names::is_variable,
    plugins::read_plugin_table,
    reader::{ConfigReader, ConfigSection, SecretKey},
    suggest::nearest,
    value::{HttpOrigin, PathText, VariableName},
};

mod given;
mod rate;

pub(crate) use given::GivenSinks;
pub use rate::SinkRate;

/// The sink that is always there: the log.
pub(crate) const CONSOLE: &str = "console";

/// `[sink.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkConfig {
    /// The plugin that delivers there.
    pub plugin: PluginName,
    /// `config`: what the plugin is configured with. Its meaning is the plugin's own.
    pub config: toml::Table,
    /// The secrets, by the names that the plugin knows them by.
    pub secrets: BTreeMap<String, Secret>,
    /// Where it may send, and its secrets may go.
    pub allow: Vec<Origin>,
    /// How alerts come together in one delivery, and where they go when it fails.
    pub settings: SinkSettings,
    /// How often it is sent to at most.
    pub rate: SinkRate,
    /// The certificate authorities (PEM) to trust in place of those of the machine.
    pub ca_file: Option<PathBuf>,
    /// What everything is sent through.
    pub proxy: Option<Proxy>,
    /// What the receiver's own calls are signed with.
    pub webhook_secret: Option<Secret>,
}

/// All sinks, and what is known of those that are faulty.
pub(crate) struct ReadSinks {
    /// Those that can be used.
    pub(crate) sinks: BTreeMap<SinkName, SinkConfig>,
    /// Those, and those whose sections are faulty: what names one of them names nothing that is not there.
    names: BTreeSet<SinkName>,
    /// What the environment alone makes.
    pub(crate) given: GivenSinks,
}

impl ReadSinks {
    pub(crate) fn read(root: &ConfigSection<'_, '_>) -> Self {
        let mut all = Self {
            sinks: BTreeMap::new(),
            names: BTreeSet::new(),
            given: GivenSinks::default(),
        };
        let sections = root.named("sink");
        let has_sections = !sections.is_empty();
        for (name, section) in sections {
            let name = read_name(&section, &name);
            let sink = SinkConfig::read(&section, name.as_ref());
            section.close();
            all.names.extend(name.clone());
            if let (Some(name), Some(sink)) = (name, sink) {
                all.sinks.insert(name, sink);
            }
        }
        all.given = GivenSinks::read(root.reader, has_sections);
        for (name, sink) in all.given.take() {
            all.names.insert(name.clone());
            all.sinks.insert(name, sink);
        }
        let console = SinkName::parse(CONSOLE).expect("it is a name");
        if all.names.insert(console.clone()) {
            all.sinks.insert(console, SinkConfig::console());
        }
        all.check_fallbacks(root.reader);
        all
    }

    /// What of each matters for what is delivered. Of a faulty one it is not known, and nobody will ask.
    pub(crate) fn settings(&self) -> BTreeMap<Arc<str>, SinkSettings> {
        let settings = |name: &SinkName| {
            let sink = self.sinks.get(name);
            sink.map_or_else(SinkSettings::default, |sink| sink.settings.clone())
        };
        let names = self.names.iter();
        names
            .map(|name| (Arc::from(name.as_str()), settings(name)))
            .collect()
    }

    /// Says that there is no sink of this name, where there is none.
    pub(crate) fn check_is_there(&self, key: &str, sink: &SinkName, reader: &ConfigReader<'_>) {
        if self.names.contains(sink) {
            return;
        }
        let names = self.names.iter().map(SinkName::as_str);
        let remedy = match nearest(sink.as_str(), names.clone()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!(
                "add [sink.{sink}], or name one of: {}",
                names.collect::<Vec<_>>().join(", ")
            ),
        };
        reader.fault_at(key, format!("there is no sink \"{sink}\""), remedy);
    }

    /// Each fallback is there, and following them ends.
    fn check_fallbacks(&self, reader: &ConfigReader<'_>) {
        for name in self.sinks.keys() {
            if let Some(fallback) = self.fallback_of(name) {
                self.check_is_there(&fallback_key(name), &fallback, reader);
            }
            let way = self.way_from(name);
            // Each round is said once, of the first of its sinks.
            if way.last() == Some(name) && way.iter().all(|passed| name <= passed) {
                let way: Vec<&str> = way.iter().map(SinkName::as_str).collect();
                let what = format!("leads back to itself: {name} → {}", way.join(" → "));
                let remedy = format!("let one of them fall back to \"{CONSOLE}\", or to nothing");
                reader.fault_at(&fallback_key(name), what, remedy);
            }
        }
    }

    fn fallback_of(&self, sink: &SinkName) -> Option<SinkName> {
        let fallback = self.sinks.get(sink)?.settings.fallback.as_deref()?;
        SinkName::parse(fallback).ok()
    }

    /// The sinks that one falls back to, until there is none or it comes by itself.
    fn way_from(&self, sink: &SinkName) -> Vec<SinkName> {
        let next = |from: &SinkName| self.fallback_of(from);
        let mut way = Vec::new();
        let mut at = next(sink);
        // A way that is longer than there are sinks comes by one of them twice.
        while let Some(passed) = at.filter(|_| way.len() < self.sinks.len()) {
            at = (passed != *sink).then(|| next(&passed)).flatten();
            way.push(passed);
        }
        way
    }
}

fn fallback_key(sink: &SinkName) -> String {
    format!("sink.{sink}.fallback")
}

fn read_name(section: &ConfigSection<'_, '_>, name: &str) -> Option<SinkName> {
    let parsed = SinkName::parse(name).ok();
    if parsed.is_none() {
        let what = "this is not the name of a sink";
        let remedy =
            "write 1 to 64 lower-case letters, digits, - and _, and start with a letter or a digit";
        section
            .reader
            .fault(section.place(), section.path(), what, remedy);
    }
    parsed
}

impl SinkConfig {
    /// A sink that nobody configured further.
    pub(crate) fn of_plugin(plugin: PluginName) -> Self {
        Self {
            config: toml::Table::new(),
            secrets: BTreeMap::new(),
            allow: Vec::new(),
            settings: SinkSettings {
                grouping: grouping_of(&plugin),
                fallback: None,
            },
            rate: SinkRate::of_plugin(plugin.as_str()),
            ca_file: None,
            proxy: None,
            webhook_secret: None,
            plugin,
        }
    }

    fn console() -> Self {
        Self::of_plugin(PluginName::parse(CONSOLE).expect("the bundled plugin's name is one"))
    }

    fn read(section: &ConfigSection<'_, '_>, name: Option<&SinkName>) -> Option<Self> {
        let plugin: Option<PluginName> = section
            .key("plugin")
            .required("say which plugin delivers there: plugin = \"slack\"");
        check_console(section, name, plugin.as_ref());
        // What is not known yet follows from a plugin that stands in.
        let defaults = plugin.clone().map_or_else(Self::console, Self::of_plugin);
        let working_dir = section.reader.environment.working_dir();
        let allow: Vec<HttpOrigin> = section.key("allow").or(Vec::new());
        let fallback: Option<SinkName> = section.key("fallback").optional();
        let ca_file = section.key("ca_file").optional();
        let sink = Self {
            config: read_plugin_table(&section.child("config")).unwrap_or_default(),
            secrets: read_secrets(section),
            allow: allow.into_iter().map(|origin| origin.0).collect(),
            settings: SinkSettings {
                grouping: section.key("grouping").or(defaults.settings.grouping),
                fallback: fallback.map(|fallback| Arc::from(fallback.as_str())),
            },
            rate: section.key("rate").or(defaults.rate),
            ca_file: ca_file.map(|PathText(path)| working_dir.join(path)),
            proxy: read_proxy(section),
            webhook_secret: read_webhook_secret(section),
            plugin: plugin?,
        };
        if !sink.secrets.is_empty() && sink.allow.is_empty() {
            let what = "names no origin, so that its secrets, and what it sends, can go nowhere";
            let remedy = "name where it sends: allow = [\"https://hooks.slack.com\"]";
            let key = section.key_path("allow");
            if !section.reader.is_faulty(&key) {
                section.reader.fault_at(&key, what, remedy);
            }
        }
        Some(sink)
    }
}

fn grouping_of(plugin: &PluginName) -> Grouping {
    match plugin.as_str() {
        // Each alert is an incident, or an alert, of its own there.
        "pagerduty" | "alertmanager" => Grouping::None,
        _ => Grouping::Group,
    }
}

fn check_console(
    section: &ConfigSection<'_, '_>,
    name: Option<&SinkName>,
    plugin: Option<&PluginName>,
) {
    let is_console = name.is_some_and(|name| name.as_str() == CONSOLE);
    if let Some(plugin) = plugin.filter(|plugin| is_console && plugin.as_str() != CONSOLE) {
        let what = format!("the sink {CONSOLE} is the log, and not one of the plugin {plugin}");
        let remedy = "give this sink another name";
        section
            .reader
            .fault_at(&section.key_path("plugin"), what, remedy);
    }
}

/// The value of a variable, or of the file that its `NAME_FILE` names; without either there is a fault.
fn read_variable(reader: &ConfigReader<'_>, key: &str, variable: &str) -> Option<Secret> {
    let before = reader.count();
    let found = reader.named_secret(key, variable);
    if found.is_none() && reader.count() == before {
        let what = format!("neither {variable} nor {variable}_FILE is set");
        let remedy = "set one of them where the router is started, or correct the name";
        reader.fault_at(key, what, remedy);
    }
    found.map(|found| found.secret)
}

fn read_secrets(section: &ConfigSection<'_, '_>) -> BTreeMap<String, Secret> {
    let (reader, outer) = (section.reader, section.key_path("secrets"));
    let mut secrets = BTreeMap::new();
    for (name, variable) in section.texts("secrets") {
        let key = format!("{outer}.{name}");
        if !is_variable(&name) {
            let remedy =
                "a placeholder's name holds letters, digits and _, and does not start with a digit";
            reader.fault_at(&key, "this is not the name of a placeholder", remedy);
        } else if !is_variable(&variable) {
            // It may be the secret itself, and is not quoted.
            let what = "this is not the name of a variable";
            let remedy = format!(
                "name the variable that holds the secret: {name} = \"{}\"",
                name.to_ascii_uppercase()
            );
            reader.fault_at(&key, what, remedy);
        } else if let Some(secret) = read_variable(reader, &key, &variable) {
            secrets.insert(name, secret);
        }
    }
    secrets
}

fn read_webhook_secret(section: &ConfigSection<'_, '_>) -> Option<Secret> {
    let VariableName(variable) = section.key("webhook_secret").optional()?;
    read_variable(
        section.reader,
        &section.key_path("webhook_secret"),
        &variable,
    )
}

fn read_proxy(section: &ConfigSection<'_, '_>) -> Option<Proxy> {
    let found = section.secret(&SecretKey {
        name: "proxy",
        file_name: "proxy_file",
        variables: &[],
        default: None,
        applies: Applies::Live,
    })?;
    let (reader, key) = (section.reader, section.key_path("proxy"));
    match Proxy::parse(found.secret.expose()) {
        Ok(proxy) => {
            reader.mean(&key, &proxy.origin().to_string(), &found.secret);
            Some(proxy)
        }
        Err(error) => {
            let remedy = "write http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT";
            reader.fault(
                found.place,
                key,
                format!("this is no proxy: {error}"),
                remedy,
            );
            None
        }
    }
}
