//! From definitions to what the core and the supervisor need: the instances of the file and those that were registered, by the
//! rules of one configuration.

use std::collections::HashSet;

use router_config::{Config, Faults, InstanceDefinition};
use router_core::{
    InstanceId,
    spec::{InstanceSpec, Source},
};

use crate::{
    instance_plan::{InstancePlan, InstancePlans},
    recovery_snapshot::Snapshot,
};

/// Instances of one source, and those of them that this configuration rejects.
#[derive(Debug, Default)]
pub(crate) struct DefinedInstances {
    pub(crate) specs: Vec<InstanceSpec>,
    plans: Vec<(InstanceId, Source, InstancePlan)>,
    rejected: Vec<RefusedDefinition>,
    /// Registered ids that the file defines.
    shadowed: Vec<String>,
}

/// A definition that a configuration does not take.
#[derive(Debug)]
pub(crate) struct RefusedDefinition {
    pub(crate) id: String,
    pub(crate) faults: Faults,
}

impl DefinedInstances {
    /// The instances of the file. They cannot be faulty: the file was checked as a whole.
    pub(crate) fn in_file(config: &Config, snapshot: &Snapshot) -> Self {
        let mut defined = Self::default();
        for instance in &config.instance {
            let made = config.define(instance, Source::Config);
            defined.add(config, snapshot, instance.id.as_str(), made);
        }
        defined
    }

    /// The registered instances, by the rules of this configuration: a template that they were made from may be gone. An id
    /// that the file defines is the file's; its registration is kept for when the file drops it.
    pub(crate) fn registered(config: &Config, snapshot: &Snapshot) -> Self {
        let mut defined = Self::default();
        let in_file = config.instance.iter().map(|one| one.id.as_str());
        let in_file: HashSet<&str> = in_file.collect();
        for (id, definition) in &snapshot.registered {
            if in_file.contains(id.as_str()) {
                defined.shadowed.push(id.clone());
                continue;
            }
            let made = router_config::parse_instance_json(&definition.to_string(), config);
            let made = made.and_then(|instance| config.define(&instance, Source::Api));
            defined.add(config, snapshot, id, made);
        }
        defined
    }

    fn add(
        &mut self,
        config: &Config,
        snapshot: &Snapshot,
        id: &str,
        made: Result<InstanceDefinition, Faults>,
    ) {
        match made {
            Ok(definition) => {
                let plan = InstancePlan::new(&definition, config);
                let mut spec = definition.spec;
                spec.stopped = snapshot.stopped.contains(spec.id.as_str());
                self.plans.push((spec.id.clone(), spec.source, plan));
                self.specs.push(spec);
            }
            Err(faults) => self.rejected.push(RefusedDefinition {
                id: id.to_owned(),
                faults,
            }),
        }
    }

    /// The definitions that are rejected now and were not before.
    pub(crate) fn newly_rejected<'a>(
        &'a self,
        before: &'a Self,
    ) -> impl Iterator<Item = &'a RefusedDefinition> {
        let is_new = |one: &&RefusedDefinition| before.rejected.iter().all(|old| old.id != one.id);
        self.rejected.iter().filter(is_new)
    }

    /// Logs which instances are left out.
    pub(crate) fn log_left_out(&self) {
        for id in &self.shadowed {
            tracing::warn!(
                instance = %id,
                "registration ignored: the configuration file defines this instance and takes precedence"
            );
        }
        for RefusedDefinition { id, faults } in &self.rejected {
            tracing::error!(
                instance = %id,
                error = %faults,
                "registration rejected by the configuration"
            );
        }
    }

    /// Puts the plans where the driver finds them, and returns the specs for the core.
    pub(crate) fn publish(self, plans: &InstancePlans) -> Vec<InstanceSpec> {
        for (id, source, plan) in self.plans {
            plans.set(id, source, plan);
        }
        self.specs
    }
}
