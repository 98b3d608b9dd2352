//! Whether the plugins of a configuration can do what it wants of them, found out without a router: they are loaded as it would load
//! them, and asked whether they take their settings.

use std::{os::unix::fs::MetadataExt as _, path::PathBuf, sync::Arc, time::Duration};

use router_config::{Config, SettingOrigin};
use router_engine::{Engine, EngineOptions, NoValues};

use super::engine;
use crate::error_chain::chain;

/// How long that may take. Interpreted plugins take half a minute each to compile, and come from the cache afterwards.
const WITHIN: Duration = Duration::from_secs(120);

/// What is wrong, each in one line.
#[derive(Debug, Default)]
pub(crate) struct PluginFindings {
    /// Sinks that could deliver nothing: nothing answers in their place, and nobody would be notified.
    pub(crate) sinks: Vec<String>,
    /// The rest, which is no obstacle.
    pub(crate) others: Vec<String>,
}

impl PluginFindings {
    fn of_nothing_examined(reason: String) -> Self {
        Self {
            others: vec![reason],
            ..Self::default()
        }
    }
}

/// Loads them, and says what is wrong.
pub(crate) async fn examine(config: &Config) -> PluginFindings {
    let (policies, settings) = (
        engine::by_name(&engine::policies(config)),
        engine::settings(config),
    );
    if policies.is_empty() && settings.config.is_empty() && settings.sinks.is_empty() {
        return PluginFindings::default();
    }
    let options = EngineOptions {
        plugins_dir: config.plugins.dir.clone(),
        trials_dir: None,
        cache_dir: cache_dir(config),
        settings,
        policies: Some(policies),
        name_fault: engine::name_fault,
        values: Arc::new(NoValues),
        // It serves nothing.
        reserve_address_space: false,
    };
    let engine = match Engine::start(options) {
        Ok((engine, _events)) => engine,
        Err(error) => {
            let reason = format!("plugins cannot be examined: {}", chain(&error));
            return PluginFindings::of_nothing_examined(reason);
        }
    };
    let scan = tokio::time::timeout(WITHIN, engine.reload_now()).await;
    let findings = match scan {
        Ok(report) => findings(config, &engine, report.fault),
        Err(_) => PluginFindings::of_nothing_examined(format!(
            "plugins could not be examined within {} s",
            WITHIN.as_secs()
        )),
    };
    engine.shutdown().await;
    findings
}

fn findings(config: &Config, engine: &Engine, fault: Option<String>) -> PluginFindings {
    let mut findings = PluginFindings::default();
    for fault in engine.faults() {
        match place(config, &fault.name) {
            Some(place) => findings.sinks.push(format!("{place}: {}", fault.what)),
            None => findings.others.push(fault.what),
        }
    }
    let unknown = engine.conditions().borrow().unknown.clone();
    let unknown = unknown.iter();
    let unknown = unknown.map(|plugin| engine::unknown_settings(plugin, engine));
    findings.others.extend(unknown);
    let dir = config.plugins.dir.display();
    let unread = fault.map(|fault| format!("{dir} cannot be read: {fault}"));
    findings.others.extend(unread);
    findings
}

/// Where it is said that there is a sink of this name (`sink.NAME`): a line of the file, or a variable. `None`: it is no sink.
fn place(config: &Config, name: &str) -> Option<String> {
    config
        .sinks
        .keys()
        .find(|sink| name.strip_prefix("sink.") == Some(sink.as_str()))?;
    let prefix = format!("{name}.");
    let mut settings = config.settings.iter();
    let origin = settings.find_map(|setting| match &setting.origin {
        SettingOrigin::Default => None,
        origin => setting.key.starts_with(&prefix).then_some(origin),
    });
    Some(match origin {
        Some(SettingOrigin::Line(line)) => format!("{}:{line}", config.file.display()),
        Some(SettingOrigin::Variable(variable)) => variable.clone(),
        Some(SettingOrigin::Default) | None => config.file.display().to_string(),
    })
}

/// The router's cache, where it is there and belongs to the user who asks: what another one put there the router would not use.
fn cache_dir(config: &Config) -> Option<PathBuf> {
    let directory = engine::cache_dir(&config.server.data_dir);
    let owner = std::fs::metadata(&directory).ok()?.uid();
    (owner == rustix::process::geteuid().as_raw()).then_some(directory)
}
