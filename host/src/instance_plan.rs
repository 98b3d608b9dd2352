//! How each instance is launched: the plan that belongs to the digest which the core knows it by.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::RwLock;
use router_admin::Definition;
use router_config::{Config, Waits};
use router_core::{InstanceId, SlotKey, spec::Source};
use router_supervisor::LaunchSpec;

/// One instance's plan.
#[derive(Debug, Clone)]
pub(crate) struct InstancePlan {
    /// Names everything that a running process depends on.
    pub(crate) digest: u64,
    /// What its shim is given.
    pub(crate) launch: LaunchSpec,
    /// How long it may take for what.
    pub(crate) waits: Waits,
    /// How it is shown.
    pub(crate) definition: Definition,
}

/// For a survivor that nobody defines: not any more, or not yet, while the database is away.
pub(crate) const WAITS_DEFAULT: Waits = Waits {
    socket: Duration::from_secs(5),
    request: Duration::from_secs(300),
    cache_ttl: Duration::ZERO,
    slow: None,
};

/// The program's own name stands for the running program, wherever that is and whatever `PATH` says.
const OWN_NAME: &str = "godot-mcp-router";

impl InstancePlan {
    /// The plan for an instance's definition.
    pub(crate) fn new(definition: &router_config::InstanceDefinition, config: &Config) -> Self {
        let launch = &definition.launch;
        let own = || std::env::current_exe().ok()?.to_str().map(str::to_owned);
        let command = match launch.command.as_str() {
            OWN_NAME => own().unwrap_or_else(|| launch.command.clone()),
            other => other.to_owned(),
        };
        let env = launch.env.iter();
        let env: Vec<(String, String)> = env
            .map(|(name, value)| (name.clone(), value.expose().to_owned()))
            .collect();
        let key = SlotKey::first(definition.spec.id.clone());
        let shown = Definition {
            template: launch.template.to_string(),
            command: launch.command.clone(),
            args: launch.args.clone(),
            env_names: env.iter().map(|(name, _)| name.clone()).collect(),
            transport: launch.transport.as_str().to_owned(),
            sharing: launch.sharing.as_str().to_owned(),
            socket_path: launch.socket_path.display().to_string(),
            log_path: log_path(config, &key),
        };
        Self {
            digest: launch.digest,
            waits: definition.waits,
            launch: LaunchSpec {
                command,
                args: launch.args.clone(),
                env,
                pass_env: launch.pass_env.clone(),
                cwd: launch.cwd.clone(),
                transport: launch.transport,
                max_open_files: launch.max_open_files,
                memory_bytes_max: launch.max_memory_bytes,
                on_router_exit: launch.on_router_exit,
                stop_grace: launch.stop_grace,
                spec_digest: format!("{:016x}", launch.digest),
            },
            definition: shown,
        }
    }
}

fn log_path(config: &Config, key: &SlotKey) -> String {
    let path = godot_mcp_shim::paths::current_log(
        &config.logging.instances_dir(),
        key.instance.as_str(),
        key.slot,
    );
    path.display().to_string()
}

/// The plans of all instances, each as one source defines it: two sources may define the same id, of which the core follows
/// one. Written by the applier, before the core hears of it.
#[derive(Debug, Default)]
pub(crate) struct InstancePlans(RwLock<HashMap<(InstanceId, Source), Arc<InstancePlan>>>);

impl InstancePlans {
    /// The plan of an instance by the definition of that source.
    pub(crate) fn get(&self, instance: &InstanceId, source: Source) -> Option<Arc<InstancePlan>> {
        self.0.read().get(&(instance.clone(), source)).cloned()
    }

    /// Puts a plan in place of the one before.
    pub(crate) fn set(&self, instance: InstanceId, source: Source, plan: InstancePlan) {
        self.0.write().insert((instance, source), Arc::new(plan));
    }

    /// Takes a plan away.
    pub(crate) fn remove(&self, instance: &InstanceId, source: Source) {
        self.0.write().remove(&(instance.clone(), source));
    }
}
