//! Health policies: facts of a slot in, a verdict out. A policy answers at once and one question at a time.

use router_core::health::{Health, HealthFacts, HealthVerdict};
use serde_json::{Map, Value, json};
use wasmtime::Store;

use super::{Budget, Contract, Kind, Unit, kind_bindings, kind_contract};
use crate::{
    bindings::types::Setting,
    guest::GuestState,
    texts::{REASON_BYTES_MAX, attributes_bytes, pairs, truncate, truncate_attributes},
};

kind_bindings!("export router:health/health@0.2.0;");

use bindings::exports::router::health::health as wit;

/// See the module.
#[derive(Debug)]
pub(crate) struct HealthKind;

impl Kind for HealthKind {
    kind_contract!(
        wit,
        Contract {
            world: "health-policy",
            question: "router:health/health@0.2.0",
            imports: &[],
            unit: Unit::Plugin,
            budget: Budget::POLICY,
        }
    );

    type Question = HealthFacts;
    type Answer = HealthVerdict;

    async fn call(
        exports: &wit::Guest,
        store: &mut Store<GuestState>,
        facts: &HealthFacts,
        settings: &[Setting],
    ) -> wasmtime::Result<HealthVerdict> {
        let facts = to_wit(facts);
        let verdict = exports.call_judge(store, &facts, settings).await?;
        Ok(from_wit(verdict))
    }

    fn show(facts: &HealthFacts, verdict: Option<&HealthVerdict>) -> Map<String, Value> {
        let mut fields = Map::new();
        let mut field = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        field("instance", facts.instance.as_str().into());
        field("slot", facts.slot.into());
        if let Some(verdict) = verdict {
            field("health", verdict.health.as_str().into());
            field("reason", verdict.reason.as_str().into());
            field("recycle", verdict.recycle.into());
            field("attributes", json!(pairs::<String>(&verdict.attributes)));
        }
        fields
    }

    fn bytes(facts: &HealthFacts, verdict: Option<&HealthVerdict>) -> usize {
        let missing = &facts.tools_missing;
        facts.instance.len()
            + missing.iter().map(String::len).sum::<usize>()
            + size_of_val(missing.as_slice())
            + attributes_bytes(&facts.attributes)
            + verdict.map_or(0, |verdict| {
                verdict.reason.len() + attributes_bytes(&verdict.attributes)
            })
    }
}

fn to_wit(facts: &HealthFacts) -> wit::Facts {
    wit::Facts {
        instance: facts.instance.clone(),
        slot: facts.slot,
        uptime_ms: facts.uptime_ms,
        memory_bytes: facts.memory_bytes,
        memory_limit_bytes: facts.memory_limit_bytes,
        heartbeat_age_ms: facts.heartbeat_age_ms,
        pings_failed: facts.pings_failed,
        ping_ms: facts.ping_ms,
        window_requests: facts.window_requests,
        window_errors: facts.window_errors,
        window_p95_ms: facts.window_p95_ms,
        restarts_recent: facts.restarts_recent,
        in_flight: facts.in_flight,
        tools_missing: facts.tools_missing.clone(),
        tools_count: facts.tools_count,
        attributes: facts.attributes.clone(),
    }
}

fn from_wit(verdict: wit::Verdict) -> HealthVerdict {
    let wit::Verdict {
        status,
        mut reason,
        recycle,
        mut attributes,
    } = verdict;
    truncate_attributes(&mut attributes);
    let health = match status {
        wit::Status::Healthy => Health::Healthy,
        wit::Status::Degraded => Health::Degraded,
        wit::Status::Unhealthy => Health::Unhealthy,
    };
    truncate(&mut reason, REASON_BYTES_MAX);
    if reason.is_empty() && health != Health::Healthy {
        "the policy gave no reason".clone_into(&mut reason);
    }
    HealthVerdict {
        health,
        reason,
        recycle,
        attributes,
    }
}

#[cfg(test)]
mod tests {
    use super::{from_wit, wit};
    use crate::texts::ATTRIBUTES_MAX;

    #[test]
    fn a_verdict_is_cut_to_what_its_interface_states() {
        let long = "é".repeat(10_000);
        let verdict = from_wit(wit::Verdict {
            status: wit::Status::Degraded,
            reason: long.clone(),
            recycle: true,
            attributes: vec![(long.clone(), long); 100],
        });
        assert_eq!(verdict.reason.len(), 1024);
        assert_eq!(verdict.attributes.len(), ATTRIBUTES_MAX);
        for (name, value) in verdict.attributes {
            assert_eq!((name.len(), value.len()), (256, 256));
        }
    }
}
