//! How each instance is launched: the plan that belongs to the digest which the core knows it by.

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;
use router_admin::Definition;
use router_core::InstanceId;
use router_supervisor::LaunchSpec;

use crate::driver::Waits;

/// One instance's plan.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Names everything that a running process depends on.
    pub(crate) digest: u64,
    /// What its shim is told.
    pub(crate) launch: LaunchSpec,
    /// How long it may take for what.
    pub(crate) waits: Waits,
    /// How it is shown.
    pub(crate) definition: Definition,
}

/// The plans of all instances. Written by whoever applies a configuration, before the core hears of it.
#[derive(Debug, Default)]
pub(crate) struct Plans(RwLock<HashMap<InstanceId, Arc<Plan>>>);

impl Plans {
    /// The plan of an instance.
    pub(crate) fn get(&self, instance: &InstanceId) -> Option<Arc<Plan>> {
        self.0.read().get(instance).cloned()
    }

    /// Puts a plan in place of the one before.
    pub(crate) fn set(&self, instance: InstanceId, plan: Plan) {
        self.0.write().insert(instance, Arc::new(plan));
    }

    /// Takes a plan away.
    pub(crate) fn remove(&self, instance: &InstanceId) {
        self.0.write().remove(instance);
    }
}
