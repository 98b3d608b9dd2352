//! The fleet and conditions as operators see them: of the fleet what is the same for all instances and how many there are, since
//! `GET /api/health/mcp` shows them; the conditions in full.

use router_alerts::{
    Condition,
    facts::{FleetFacts, RouterState},
};
use serde_json::{Map, Value, json};

use crate::texts::pairs;

pub(super) fn show(fleet: &FleetFacts, conditions: Option<&[Condition]>) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut field = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    field("fleet", show_fleet(fleet));
    if let Some(conditions) = conditions {
        let conditions = conditions.iter().map(show_condition);
        field("conditions", conditions.collect());
    }
    fields
}

fn show_fleet(fleet: &FleetFacts) -> Value {
    let router: &RouterState = &fleet.router;
    let totals = &router.totals;
    json!({
        "now": crate::view::time(fleet.now_ms),
        "page": fleet.page.number,
        "pages": fleet.page.count,
        "instances": fleet.instances.len(),
        "totals": {
            "instances": totals.instances,
            "wanted": totals.wanted,
            "able": totals.able,
            "breakers": totals.breakers,
            "breakersOpen": totals.breakers_open,
            "breakersOpenedTogether": totals.breakers_opened_together,
            "errorShare": totals.error_share,
            "p95Ms": totals.p95_ms,
        },
        "plugins": router.plugins.len(),
        "sinks": router.sinks.len(),
        "database": router.database,
        "poolShare": router.pool_share,
        "databaseConnections": router.database_connections,
        "disks": router.disks.iter().map(|disk| json!({
            "path": disk.path,
            "usedShare": disk.used_share,
        })).collect::<Value>(),
        "capacityRequired": router.capacity_required,
        "capacityForecast": router.capacity_forecast,
    })
}

fn show_condition(condition: &Condition) -> Value {
    json!({
        "key": condition.key,
        "name": condition.name,
        "severity": condition.severity.as_str(),
        "summary": condition.summary,
        "remedy": condition.remedy,
        "runbookAnchor": condition.runbook_anchor,
        "instance": condition.instance.as_ref().map(ToString::to_string),
        "forMs": condition.for_ms,
        "attributes": pairs::<String>(&condition.attributes),
    })
}
