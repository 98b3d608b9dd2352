//! Whether the plugins of a configuration can do what it wants of them, found out without a router: they are loaded as it would load
//! them, and asked whether they take their settings.

use std::{os::unix::fs::MetadataExt as _, path::PathBuf, sync::Arc, time::Duration};

use router_config::Config;
use router_engine::{Conditions, Engine, EngineOptions, NoValues};

use super::engine;
use crate::error_chain::chain;

/// How long that may take. Interpreted plugins take half a minute each to compile, and come from the cache afterwards.
const WITHIN: Duration = Duration::from_secs(120);

/// What is wrong, each in one line; nothing where nothing is.
pub(crate) async fn faults(config: &Config) -> Vec<String> {
    let (policies, settings) = (
        engine::by_name(&engine::policies(config)),
        engine::settings(config),
    );
    if policies.is_empty() && settings.config.is_empty() {
        return Vec::new();
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
        Err(error) => return vec![format!("plugins cannot be examined: {}", chain(&error))],
    };
    let scan = tokio::time::timeout(WITHIN, engine.reload_now()).await;
    let faults = match scan {
        Ok(report) => {
            let Conditions {
                mut faults,
                unknown,
                ..
            } = engine.conditions().borrow().clone();
            let unknown = unknown.iter();
            faults.extend(unknown.map(|plugin| engine::unknown_settings(plugin, &engine)));
            let dir = config.plugins.dir.display();
            faults.extend(
                report
                    .fault
                    .map(|fault| format!("{dir} cannot be read: {fault}")),
            );
            faults
        }
        Err(_) => vec![format!(
            "plugins could not be examined within {} s",
            WITHIN.as_secs()
        )],
    };
    engine.shutdown().await;
    faults
}

/// The router's cache, where it is there and belongs to the user who asks: what another one put there the router would not use.
fn cache_dir(config: &Config) -> Option<PathBuf> {
    let directory = engine::cache_dir(&config.server.data_dir);
    let owner = std::fs::metadata(&directory).ok()?.uid();
    (owner == rustix::process::geteuid().as_raw()).then_some(directory)
}
