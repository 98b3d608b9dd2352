//! How the fleet and conditions cross between the router and a guest.

use std::collections::BTreeSet;

use router_alerts::{
    Condition, Severity,
    condition::{ANCHOR_BYTES_MAX, CONDITIONS_MAX, REMEDY_BYTES_MAX, SUMMARY_BYTES_MAX},
    facts::{
        DiskFacts, FleetFacts, FleetTotals, InstanceFacts, LimitFacts, PluginFacts, SinkFacts,
    },
};
use router_core::InstanceId;

use super::{types, wit};
use crate::{
    failure::BadAnswer,
    texts::{truncate, truncate_attributes},
};

pub(super) fn to_wit(fleet: &FleetFacts) -> wit::Fleet {
    let router = &fleet.router;
    wit::Fleet {
        now_ms: fleet.now_ms,
        page: wit::Page {
            number: fleet.page.number,
            count: fleet.page.count,
        },
        instances: fleet.instances.iter().map(instance).collect(),
        totals: totals(&router.totals),
        plugins: router.plugins.iter().map(plugin).collect(),
        sinks: router.sinks.iter().map(sink).collect(),
        database: router.database.to_owned(),
        pool_share: router.pool_share,
        database_connections: router.database_connections,
        disks: router.disks.iter().map(disk).collect(),
        capacity_required: router.capacity_required,
        capacity_limits: router.capacity_limits.iter().map(limit).collect(),
        capacity_forecast: router.capacity_forecast.clone(),
        capacity_forecast_ms: router.capacity_forecast_ms,
        uptime_ms: router.uptime_ms,
        attributes: router.attributes.clone(),
    }
}

fn instance(facts: &InstanceFacts) -> wit::InstanceState {
    wit::InstanceState {
        instance: facts.instance.to_string(),
        template: facts.template.clone(),
        status: facts.status.to_owned(),
        lifecycle: facts.lifecycle.to_owned(),
        reason: facts.reason.clone(),
        breaker: facts.breaker.to_owned(),
        openings: facts.openings,
        error_share: facts.error_share,
        p95_ms: facts.p95_ms,
        restarts_recent: facts.restarts_recent,
        memory_bytes: facts.memory_bytes,
        memory_limit_bytes: facts.memory_limit_bytes,
        heartbeat_age_ms: facts.heartbeat_age_ms,
        attributes: facts.attributes.clone(),
    }
}

fn totals(totals: &FleetTotals) -> wit::Totals {
    wit::Totals {
        instances: totals.instances,
        wanted: totals.wanted,
        able: totals.able,
        breakers: totals.breakers,
        breakers_open: totals.breakers_open,
        breakers_opened_together: totals.breakers_opened_together,
        error_share: totals.error_share,
        p95_ms: totals.p95_ms,
    }
}

fn plugin(facts: &PluginFacts) -> wit::PluginState {
    wit::PluginState {
        name: facts.name.clone(),
        world: facts.world.clone(),
        state: facts.state.to_owned(),
        reason: facts.reason.clone(),
        in_use: facts.in_use,
        refusal: facts.refusal.as_ref().map(|refusal| wit::Refusal {
            code: refusal.code.to_owned(),
            reason: refusal.reason.clone(),
        }),
        held: facts.held.clone(),
        quarantined_since_ms: facts.quarantined_since_ms,
        default_answers: facts.default_answers,
        attributes: facts.attributes.clone(),
    }
}

fn sink(facts: &SinkFacts) -> wit::SinkState {
    wit::SinkState {
        name: facts.name.clone(),
        failing_since_ms: facts.failing_since_ms,
        reason: facts.reason.clone(),
        gone: facts.gone.clone(),
        waiting: facts.waiting,
        dead_letters: facts.dead_letters,
        attributes: facts.attributes.clone(),
    }
}

fn disk(facts: &DiskFacts) -> wit::Disk {
    wit::Disk {
        path: facts.path.clone(),
        used_share: facts.used_share,
        attributes: facts.attributes.clone(),
    }
}

fn limit(limit: &LimitFacts) -> wit::CapacityLimit {
    wit::CapacityLimit {
        of: limit.of.clone(),
        used: limit.used,
        most: limit.most,
        attributes: limit.attributes.clone(),
    }
}

/// What an answer holds, or why it is none. Half of it would resolve what the other half names.
pub(super) fn from_wit(conditions: Vec<types::Condition>) -> Result<Vec<Condition>, BadAnswer> {
    let count = conditions.len();
    if count > CONDITIONS_MAX {
        let reason = format!("it names {count} conditions, and may name {CONDITIONS_MAX}");
        return Err(BadAnswer::new(reason));
    }
    let conditions: Vec<Condition> = conditions
        .into_iter()
        .map(condition)
        .collect::<Result<_, _>>()?;
    let mut keys = BTreeSet::new();
    match conditions.iter().find(|one| !keys.insert(&one.key)) {
        Some(twice) => Err(BadAnswer::new(format!(
            "it names two conditions with the key {:?}",
            twice.key
        ))),
        None => Ok(conditions),
    }
}

fn condition(condition: types::Condition) -> Result<Condition, BadAnswer> {
    let types::Condition {
        key,
        name,
        severity,
        mut summary,
        mut remedy,
        mut runbook_anchor,
        instance,
        for_ms,
        mut attributes,
    } = condition;
    if summary.contains(char::is_control) {
        // It is one line wherever it is shown.
        summary = summary.replace(char::is_control, " ");
    }
    truncate(&mut summary, SUMMARY_BYTES_MAX);
    truncate(&mut remedy, REMEDY_BYTES_MAX);
    if let Some(anchor) = &mut runbook_anchor {
        truncate(anchor, ANCHOR_BYTES_MAX);
    }
    truncate_attributes(&mut attributes);
    let instance = match instance.as_deref().map(InstanceId::parse) {
        Some(Ok(id)) => Some(id),
        Some(Err(error)) => {
            let reason = format!("the instance of one of its conditions is none: {error}");
            return Err(BadAnswer::new(reason));
        }
        None => None,
    };
    let condition = Condition {
        key,
        name,
        severity: match severity {
            types::Severity::P1 => Severity::P1,
            types::Severity::P2 => Severity::P2,
            types::Severity::P3 => Severity::P3,
            types::Severity::P4 => Severity::P4,
        },
        summary,
        remedy,
        runbook_anchor,
        instance,
        for_ms,
        attributes,
    };
    match condition.check() {
        Ok(()) => Ok(condition),
        Err(fault) => Err(BadAnswer::new(fault.to_string())),
    }
}
