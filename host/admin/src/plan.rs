//! The plan that a breaker goes by, as JSON: each number with where it comes from, so that nobody has to compare a policy with the
//! configuration by hand.

use router_core::{
    breaker::plan::{BreakerPlan, ToolRow},
    classify::ClassTable,
    view::PlanView,
};
use serde_json::{Map, Value, json};

/// The name of the built-in default, as the configuration has it.
const BUILTIN: &str = "builtin";

/// `breakerPlan` of one instance. `origins` says where each number of the configuration comes from.
pub(crate) fn render(view: &PlanView, origins: &[(&'static str, String)]) -> Value {
    let policy = view.policy.as_deref().unwrap_or(BUILTIN);
    let mut plan = contents(&view.plan);
    plan.insert("policy".to_owned(), policy.into());
    plan.insert("sinceMs".to_owned(), view.since_ms.into());
    plan.insert("thresholds".to_owned(), thresholds(view, policy, origins));
    let observed = view.observed.as_ref().map(|observed| {
        let mut plan = contents(&observed.plan);
        let named = observed.plan.thresholds.named().into_iter();
        let named = named.map(|(name, value)| (name.to_owned(), json!(value)));
        plan.insert("policy".to_owned(), (*observed.policy).into());
        plan.insert("sinceMs".to_owned(), observed.since_ms.into());
        plan.insert("thresholds".to_owned(), Value::Object(named.collect()));
        plan.insert("wouldBe".to_owned(), observed.would_be.as_str().into());
        plan.insert("wouldReject".to_owned(), observed.would_reject.into());
        plan
    });
    plan.insert("observed".to_owned(), json!(observed));
    let refused = view.refused.as_ref().map(|refused| {
        json!({ "policy": *refused.policy, "reason": refused.reason, "agoMs": refused.ago_ms })
    });
    plan.insert("refused".to_owned(), json!(refused));
    Value::Object(plan)
}

/// Each number in force, and where it comes from: the policy, where it says otherwise than the configuration.
fn thresholds(view: &PlanView, policy: &str, origins: &[(&'static str, String)]) -> Value {
    let in_force = view.plan.thresholds.named().into_iter();
    let each = in_force.zip(view.configured.named());
    let each = each.map(|((name, value), (_, configured))| {
        let origin = origins.iter().find(|(other, _)| *other == name);
        let origin = origin.map_or("default", |(_, origin)| origin);
        let from = if value == configured { origin } else { policy };
        (name.to_owned(), json!({ "value": value, "from": from }))
    });
    Value::Object(each.collect())
}

fn contents(plan: &BreakerPlan) -> Map<String, Value> {
    let fields = [
        ("mode", json!(plan.mode.as_str())),
        ("reason", json!(plan.reason)),
        ("table", table(&plan.table)),
        ("tools", plan.tools.iter().map(tool).collect()),
    ];
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn tool(row: &ToolRow) -> Value {
    json!({ "tool": row.tool, "slowMs": row.table.slow_ms(), "table": table(&row.table) })
}

fn table(table: &ClassTable) -> Value {
    let rows = table.rules().iter();
    rows.map(|(outcome, meaning)| {
        json!({
            "outcome": outcome.as_str(),
            "code": outcome.code(),
            "meaning": meaning.as_str(),
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use router_core::{
        breaker::plan::builtin,
        permit::BreakerState,
        settings::BreakerThresholds,
        view::{ObservedPlanView, PlanView, RefusedPlanView},
    };
    use serde_json::json;

    use super::render;

    #[test]
    fn each_number_says_where_it_comes_from() {
        let configured = BreakerThresholds {
            successes: 1,
            ..BreakerThresholds::default()
        };
        let mut plan = builtin(&configured);
        plan.thresholds.consecutive_failures = 5;
        let view = PlanView {
            policy: Some("strict".into()),
            plan: Arc::new(plan),
            configured: configured.clone(),
            since_ms: 40,
            observed: Some(ObservedPlanView {
                policy: "strict".into(),
                plan: Arc::new(builtin(&configured)),
                since_ms: 9,
                would_be: BreakerState::Open,
                would_reject: 12,
            }),
            refused: Some(RefusedPlanView {
                policy: "strict".into(),
                reason: "thresholds.permits is 9; expected 1 to 8".to_owned(),
                ago_ms: 7,
            }),
        };
        let origins = [("successes", "template.t.breaker".to_owned())];
        let shown = render(&view, &origins);
        assert_eq!(
            (&shown["policy"], &shown["sinceMs"]),
            (&json!("strict"), &json!(40))
        );
        let threshold = |name: &str| shown["thresholds"][name].clone();
        let expected = json!({"value": 5, "from": "strict"});
        assert_eq!(threshold("consecutiveFailures"), expected);
        let expected = json!({"value": 1, "from": "template.t.breaker"});
        assert_eq!(threshold("successes"), expected);
        assert_eq!(
            threshold("slowMs"),
            json!({"value": null, "from": "default"})
        );
        assert_eq!(shown["refused"]["agoMs"], 7);
        let observed = &shown["observed"];
        assert_eq!(
            (&observed["wouldBe"], &observed["wouldReject"]),
            (&json!("OPEN"), &json!(12))
        );
        assert_eq!(observed["thresholds"]["successes"], 1);
        let builtin = PlanView {
            policy: None,
            plan: Arc::new(builtin(&configured)),
            observed: None,
            refused: None,
            ..view
        };
        let shown = render(&builtin, &[]);
        assert_eq!(
            (&shown["policy"], &shown["refused"]),
            (&json!("builtin"), &json!(null))
        );
    }
}
