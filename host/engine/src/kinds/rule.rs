//! Alert rules: the fleet in, the conditions that hold out. A rule answers at once and one question at a time, on a thread that no
//! policy keeps.
//!
//! What an answer names decides what is resolved, so there is no half of one: texts are cut, and an answer that is out of bounds in
//! any other way is a failure of the call.

mod crossing;
mod shown;

use std::time::Duration;

use router_alerts::{
    Condition,
    facts::{FleetFacts, InstanceFacts},
};
use serde_json::{Map, Value};
use wasmtime::{
    Store,
    component::{HasSelf, Linker},
};

use super::{Budget, Contract, Kind, Priority, Unit, kind_bindings, kind_contract};
use crate::{bindings::types::Setting, guest::GuestState, texts::attributes_bytes};

kind_bindings!("export router:alerts/rule@0.2.0;");

use bindings::exports::router::alerts::rule as wit;
#[allow(
    unreachable_pub,
    reason = "what is generated for sinks uses it again, and exports it"
)]
pub use bindings::router::alerts::types;

impl types::Host for GuestState {}

/// See the module.
#[derive(Debug)]
pub(crate) struct RuleKind;

impl Kind for RuleKind {
    kind_contract!(
        wit,
        Contract {
            world: "alert-rule",
            question: "router:alerts/rule@0.2.0",
            imports: &["router:alerts/types@0.2.0"],
            unit: Unit::Plugin,
            budget: Budget {
                // As many conditions as there may be, with all their texts: `wit/` states it.
                crossing_bytes: 4 * 1024 * 1024,
                priority: Priority::Normal,
                wall: |running: Duration| running * 10,
                calls_max: 1,
            },
        }
    );

    type Question = FleetFacts;
    type Answer = Vec<Condition>;

    fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
        types::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
    }

    async fn call(
        exports: &wit::Guest,
        store: &mut Store<GuestState>,
        fleet: &FleetFacts,
        settings: &[Setting],
    ) -> wasmtime::Result<Vec<Condition>> {
        let fleet = crossing::to_wit(fleet);
        let conditions = exports.call_evaluate(store, &fleet, settings).await?;
        Ok(crossing::from_wit(conditions)?)
    }

    fn show(fleet: &FleetFacts, conditions: Option<&Vec<Condition>>) -> Map<String, Value> {
        shown::show(fleet, conditions.map(Vec::as_slice))
    }

    fn bytes(fleet: &FleetFacts, conditions: Option<&Vec<Condition>>) -> usize {
        let instance = |one: &InstanceFacts| {
            size_of_val(one) + one.reason.len() + attributes_bytes(&one.attributes)
        };
        let condition = |one: &Condition| {
            size_of_val(one)
                + one.key.len()
                + one.name.len()
                + one.summary.len()
                + one.remedy.len()
                + one.runbook_anchor.as_ref().map_or(0, String::len)
                + attributes_bytes(&one.attributes)
        };
        // The rest is shared by the questions of the same moment.
        fleet.instances.iter().map(instance).sum::<usize>()
            + conditions.map_or(0, |all| all.iter().map(condition).sum())
    }
}
