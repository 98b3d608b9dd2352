//! How definitions come and go. Each source speaks only for its own instances; an id belongs to the source that had it first.

use std::collections::BTreeSet;

use super::Fleet;
use crate::{
    action::{Action, OperatorAction},
    id::InstanceId,
    instance::Instance,
    planted::Planted,
    spec::{InstanceSpec, Source},
};

impl Fleet {
    pub(super) fn apply_specs(
        &mut self,
        source: Source,
        specs: Vec<InstanceSpec>,
        out: &mut Vec<Action>,
    ) {
        let named: BTreeSet<InstanceId> = specs.iter().map(|spec| spec.id.clone()).collect();
        for (id, instance) in &mut self.instances {
            let is_held = instance.spec.source == source && !instance.unclaimed;
            if is_held && !named.contains(id) {
                instance.removed = true;
                self.touched.ids.push(id.clone());
            }
        }
        for mut spec in specs {
            spec.source = source;
            if self.bugs.has(Planted::ReloadRestarts) {
                spec.digest = spec.digest.wrapping_add(self.now_ms);
            }
            self.add_spec(spec, out);
        }
    }

    pub(super) fn add_spec(&mut self, spec: InstanceSpec, out: &mut Vec<Action>) {
        let now_ms = self.now_ms;
        self.touched.ids.push(spec.id.clone());
        match self.instances.get_mut(&spec.id) {
            None => {
                self.instances
                    .insert(spec.id.clone(), Instance::new(spec, now_ms));
            }
            Some(held) if !held.removed && !held.unclaimed && held.spec.source != spec.source => {
                out.push(Action::Operator(OperatorAction::SpecRefused {
                    instance: spec.id,
                    refused: spec.source,
                    holder: held.spec.source,
                }));
            }
            Some(held) => held.redefine(spec, now_ms),
        }
    }

    /// With the database back every source has spoken: what is still unclaimed is defined by nobody.
    pub(super) fn settle_claims(&mut self) {
        if self.watch.database {
            self.touched.all = true;
            for instance in self.instances.values_mut() {
                instance.removed |= std::mem::take(&mut instance.unclaimed);
            }
        }
    }

    pub(super) fn remove_spec(&mut self, id: &InstanceId) {
        if let Some(instance) = self.touch(id) {
            instance.removed = true;
        }
    }
}
