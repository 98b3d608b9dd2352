//! Breaker policies: the profile of an instance in, a plan for its breaker out. What a plan says is checked by the core; here it is
//! only brought over, and rows are left out that `wit/` says fit nothing.

mod crossing;
mod shown;

use router_core::breaker::plan::{BreakerPlan, BreakerProfile};
use serde_json::{Map, Value};
use wasmtime::Store;

use super::{Budget, Contract, Kind, Unit, kind_bindings, kind_contract};
use crate::{bindings::types::Setting, guest::GuestState, texts::attributes_bytes};

kind_bindings!("export router:breaker/breaker@0.2.0;");

use bindings::exports::router::breaker::breaker as wit;

/// See the module.
#[derive(Debug)]
pub(crate) struct BreakerKind;

impl Kind for BreakerKind {
    kind_contract!(
        wit,
        Contract {
            world: "breaker-policy",
            question: "router:breaker/breaker@0.2.0",
            imports: &[],
            unit: Unit::Plugin,
            budget: Budget::POLICY,
        }
    );

    type Question = BreakerProfile;
    type Answer = BreakerPlan;

    async fn call(
        exports: &wit::Guest,
        store: &mut Store<GuestState>,
        profile: &BreakerProfile,
        settings: &[Setting],
    ) -> wasmtime::Result<BreakerPlan> {
        let profile = crossing::to_wit(profile);
        let plan = exports.call_plan_for(store, &profile, settings).await?;
        Ok(crossing::from_wit(plan))
    }

    fn show(profile: &BreakerProfile, plan: Option<&BreakerPlan>) -> Map<String, Value> {
        shown::show(profile, plan)
    }

    fn bytes(profile: &BreakerProfile, plan: Option<&BreakerPlan>) -> usize {
        let texts = profile.instance.len()
            + profile.template.as_ref().map_or(0, String::len)
            + profile.transport.len();
        let tools = profile.tools.iter();
        let tools = tools
            .map(|tool| size_of_val(tool) + tool.name.len() + attributes_bytes(&tool.attributes));
        let planned = plan.map_or(0, |plan| {
            let rows = |count: usize| count * ROW_BYTES;
            let tools = plan.tools.iter();
            let tools =
                tools.map(|row| size_of_val(row) + row.tool.len() + rows(row.table.rules().len()));
            plan.reason.len() + rows(plan.table.rules().len()) + tools.sum::<usize>()
        });
        texts + tools.sum::<usize>() + attributes_bytes(&profile.attributes) + planned
    }
}

/// What a row of a table takes.
const ROW_BYTES: usize = 24;
