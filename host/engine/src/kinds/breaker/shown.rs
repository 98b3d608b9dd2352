//! A profile and a plan as operators see them: in full, so that nobody has to guess by what a breaker goes.

use router_core::{
    breaker::plan::{BreakerPlan, BreakerProfile, ToolProfile, ToolRow},
    classify::ClassTable,
    settings::BreakerThresholds,
};
use serde_json::{Map, Value, json};

use crate::texts::pairs;

pub(super) fn show(profile: &BreakerProfile, plan: Option<&BreakerPlan>) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut field = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    field("instance", profile.instance.as_str().into());
    field("profile", show_profile(profile));
    if let Some(plan) = plan {
        field("plan", show_plan(plan));
        if let Err(fault) = plan.check() {
            field("refused", fault.to_string().into());
        }
    }
    fields
}

fn show_profile(profile: &BreakerProfile) -> Value {
    let figures = &profile.figures;
    json!({
        "template": profile.template,
        "transport": profile.transport,
        "configured": show_thresholds(&profile.configured),
        "callsPerMinute": figures.calls_per_minute,
        "p50Ms": figures.p50_ms,
        "p99Ms": figures.p99_ms,
        "errorShare": figures.error_share,
        "tools": profile.tools.iter().map(show_tool).collect::<Value>(),
        "attributes": pairs::<String>(&profile.attributes),
    })
}

fn show_tool(tool: &ToolProfile) -> Value {
    json!({
        "name": tool.name,
        "calls": tool.calls,
        "p50Ms": tool.p50_ms,
        "p99Ms": tool.p99_ms,
        "errorShare": tool.error_share,
    })
}

fn show_plan(plan: &BreakerPlan) -> Value {
    json!({
        "thresholds": show_thresholds(&plan.thresholds),
        "table": show_table(&plan.table),
        "tools": plan.tools.iter().map(show_tool_row).collect::<Value>(),
        "mode": plan.mode.as_str(),
        "reason": plan.reason,
    })
}

fn show_tool_row(row: &ToolRow) -> Value {
    json!({
        "tool": row.tool,
        "slowMs": row.table.slow_ms(),
        "table": show_table(&row.table),
    })
}

fn show_thresholds(thresholds: &BreakerThresholds) -> Value {
    let named = thresholds.named().into_iter();
    Value::Object(
        named
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect(),
    )
}

fn show_table(table: &ClassTable) -> Value {
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
    use router_core::{
        breaker::plan::{BreakerProfile, CallFigures, ToolProfile, builtin},
        classify::{ClassTable, KindPattern},
        permit::Class,
    };
    use serde_json::json;

    use super::show;

    #[test]
    fn a_question_and_its_answer_are_shown_in_full() {
        let profile = BreakerProfile {
            instance: "demo".to_owned(),
            template: Some("godot".to_owned()),
            transport: "stdio".to_owned(),
            figures: CallFigures {
                calls_per_minute: 12.5,
                p50_ms: Some(3.0),
                ..CallFigures::default()
            },
            tools: vec![ToolProfile {
                name: "render".to_owned(),
                calls: 7,
                ..ToolProfile::default()
            }],
            ..BreakerProfile::default()
        };
        let mut plan = builtin(&profile.configured);
        plan.thresholds.consecutive_failures = 5;
        let row = (KindPattern::RpcError(Some(-32603)), Class::Failure);
        plan.table = ClassTable::new(vec![row], None);
        let shown = show(&profile, Some(&plan));
        assert_eq!(shown["instance"], "demo");
        let asked = &shown["profile"];
        assert_eq!(asked["configured"]["consecutiveFailures"], 3);
        assert_eq!(asked["configured"]["slowMs"], json!(null));
        assert_eq!(
            (&asked["callsPerMinute"], &asked["p99Ms"]),
            (&json!(12.5), &json!(null))
        );
        assert_eq!(asked["tools"][0]["name"], "render");
        let answered = &shown["plan"];
        assert_eq!(answered["thresholds"]["consecutiveFailures"], 5);
        let row = json!({"outcome": "error-code", "code": -32603, "meaning": "failure"});
        assert_eq!(answered["table"], json!([row]));
        assert_eq!(answered["mode"], "enforce");
        assert!(!shown.contains_key("refused"));
        plan.thresholds.failure_share = f64::NAN;
        let shown = show(&profile, Some(&plan));
        assert_eq!(shown["plan"]["thresholds"]["failureShare"], "NaN");
        let reason = "thresholds.failure-share is NaN; expected 0.01 to 2";
        assert_eq!(shown["refused"], reason);
        assert!(!show(&profile, None).contains_key("plan"));
    }
}
