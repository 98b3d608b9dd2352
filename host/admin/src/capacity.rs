//! Capacity: what is in use, what the plan says, and when what there is runs out.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use router_core::{
    capacity::{CapacityLoad, CapacityPlan, Forecast, Limit, Measure, TemplateLoad, Usage},
    policy::NoAnswer,
    view::{AdmissionView, CapacityView, PlanInForce},
};
use serde_json::{Map, Value, json};

use crate::{
    Operations, Problem,
    render::{self, at},
};

/// What the built-in rule is called, as in the configuration.
const BUILTIN: &str = "builtin";

/// `GET /api/capacity`.
pub(crate) async fn show<O: Operations>(
    State(operations): State<Arc<O>>,
) -> Result<Response, Problem> {
    let view = operations.view().await?;
    Ok(Json(body(&view.capacity)).into_response())
}

fn body(view: &CapacityView) -> Value {
    json!({
        "timestamp": render::timestamp(),
        "summary": summary(view),
        "instances": view.instances,
        "usage": usage(view.usage),
        "templates": view.templates.iter().map(template).collect::<Value>(),
        "plan": view.in_force.as_deref().map(|plan| in_force(plan, view)),
        "waiting": view.admission.waiting,
        "refusals": refusals(&view.admission),
        "refusedPlan": view.refused.as_ref().map(|refused| json!({
            "policy": &*refused.policy,
            "reason": refused.reason,
            "at": at(refused.unix_ms),
        })),
        "unanswered": view.unanswered.as_ref().map(|unanswered| json!({
            "policy": &*unanswered.policy,
            "why": why(unanswered.why),
            "since": at(unanswered.since_unix_ms),
            "questions": unanswered.questions,
        })),
    })
}

/// Starts by use that got no place.
fn refusals(view: &AdmissionView) -> Value {
    json!({
        "lastHour": view.refused_last_hour,
        "total": view.refused_total,
        "last": view.last_refused.as_ref().map(|last| json!({
            "versionId": last.instance.as_str(),
            "reason": last.reason,
            "agoMs": last.ago_ms,
        })),
    })
}

fn why(why: NoAnswer) -> &'static str {
    match why {
        NoAnswer::TimedOut => "it did not answer in time",
        NoAnswer::Trapped => "it failed",
        NoAnswer::Absent => "no such policy is loaded, or it is in quarantine",
    }
}

fn usage(usage: Usage) -> Value {
    json!({
        "running": usage.running,
        "inFlight": usage.in_flight,
        "memoryBytes": usage.memory_bytes,
    })
}

fn template(load: &TemplateLoad) -> Value {
    json!({
        "name": &*load.name,
        "instances": load.instances,
        "running": load.running,
    })
}

fn in_force(in_force: &PlanInForce, view: &CapacityView) -> Value {
    let plan = &in_force.plan;
    let limits = plan.limits.iter().map(|one| limit(one, view));
    let attributes = plan.attributes.iter();
    let attributes: Map<String, Value> = attributes
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    json!({
        "policy": in_force.policy.as_deref().unwrap_or(BUILTIN),
        "required": plan.required,
        "reason": plan.reason,
        "limits": limits.collect::<Value>(),
        "forecasts": plan.forecasts.iter().map(forecast).collect::<Value>(),
        "attributes": attributes,
        "reckonedFrom": load(&in_force.load),
    })
}

fn limit(limit: &Limit, view: &CapacityView) -> Value {
    let used = view.used(&limit.of);
    json!({
        "of": limit.of.as_str(),
        "template": limit.of.template(),
        "most": limit.most,
        "used": used,
        "headroom": used.map(|used| limit.most.saturating_sub(used)),
        "refusal": limit.refusal,
    })
}

fn forecast(forecast: &Forecast) -> Value {
    json!({
        "of": forecast.of.as_str(),
        "template": forecast.of.template(),
        "at": at(forecast.at_ms),
        "summary": forecast.summary,
    })
}

/// The numbers that a plan was reckoned from.
fn load(load: &CapacityLoad) -> Value {
    let history = &load.history;
    json!({
        "at": at(load.now_ms),
        "instances": load.instances,
        "usage": usage(load.usage),
        "memoryTotalBytes": load.memory_total_bytes,
        "memoryFreeBytes": load.memory_free_bytes,
        "processors": load.processors,
        "templates": load.templates.iter().map(template).collect::<Value>(),
        "history": {
            "minutes": history.minutes.len(),
            "days": history.days.len(),
            "firstDay": history.days.first().map(|day| at(day.at_ms)),
        },
    })
}

/// The plan in one sentence: how much is needed, and what runs out first.
fn summary(view: &CapacityView) -> String {
    let Some(plan) = view.in_force.as_deref().map(|in_force| &in_force.plan) else {
        return "nothing is planned yet".to_owned();
    };
    let runs_out = match plan.forecasts.first() {
        Some(forecast) => {
            let of = &forecast.of;
            let date = at(forecast.at_ms);
            let date = date.get(..10).unwrap_or(&date).to_owned();
            let share = attribute(&forecast.attributes, "share")
                .and_then(|share| share.parse::<f64>().ok())
                .map_or_else(
                    || "the limit".to_owned(),
                    |share| format!("{:.0} %", share * 100.0),
                );
            format!("{share} of {of} is reached on {date}")
        }
        None => "nothing is foreseen to run out".to_owned(),
    };
    format!("need {}; {runs_out}", needed(plan))
}

/// In servers where the plan says how many, else in instances.
fn needed(plan: &CapacityPlan) -> String {
    match attribute(&plan.attributes, "servers") {
        Some("1") => "1 server".to_owned(),
        Some(servers) => format!("{servers} servers"),
        None => format!("room for {} {}", plan.required, Measure::Running),
    }
}

fn attribute<'a>(attributes: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let (_, value) = attributes.iter().find(|(is, _)| is == name)?;
    Some(value)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use router_core::{
        capacity::{
            CapacityLoad, CapacityPlan, Forecast, Limit, Measure, TemplateLoad, Usage, builtin,
        },
        view::{CapacityView, PlanInForce},
    };

    use super::{body, summary};

    fn view(plan: CapacityPlan, load: CapacityLoad) -> CapacityView {
        CapacityView {
            usage: load.usage,
            templates: load.templates.clone(),
            in_force: Some(Arc::new(PlanInForce {
                plan,
                load,
                policy: Some("p".into()),
            })),
            ..CapacityView::default()
        }
    }

    #[test]
    fn the_sentence_says_how_much_is_needed_and_what_runs_out() {
        let load = CapacityLoad {
            usage: Usage {
                running: 100,
                ..Usage::default()
            },
            ..CapacityLoad::default()
        };
        let plan = builtin(&load);
        let says = |plan: CapacityPlan| summary(&view(plan, load.clone()));
        assert_eq!(
            says(plan.clone()),
            "need 4 servers; nothing is foreseen to run out"
        );
        let forecast = |share: &[(&str, &str)]| CapacityPlan {
            forecasts: vec![Forecast {
                of: Measure::Running,
                at_ms: 1_800_000_000_000,
                summary: String::new(),
                attributes: share
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
            }],
            ..plan.clone()
        };
        assert_eq!(
            says(forecast(&[("share", "0.8")])),
            "need 4 servers; 80 % of running instances is reached on 2027-01-15"
        );
        let bare = CapacityPlan {
            attributes: Vec::new(),
            ..forecast(&[])
        };
        assert_eq!(
            says(bare),
            "need room for 360 running instances; the limit of running instances is reached on 2027-01-15"
        );
        assert_eq!(summary(&CapacityView::default()), "nothing is planned yet");
    }

    #[test]
    fn limits_are_shown_with_what_is_used_of_them() {
        let limit = |of, most| Limit {
            of,
            most,
            refusal: "no".to_owned(),
            attributes: Vec::new(),
        };
        let plan = CapacityPlan {
            limits: vec![
                limit(Measure::Running, 5),
                limit(Measure::MemoryBytes, 70),
                limit(Measure::InFlight, 1),
                limit(Measure::RunningOfTemplate("godot".into()), 3),
                limit(Measure::Other("gpus".into()), 3),
            ],
            ..CapacityPlan::default()
        };
        let load = CapacityLoad {
            usage: Usage {
                running: 2,
                in_flight: 4,
                memory_bytes: 50,
            },
            templates: vec![TemplateLoad {
                name: "godot".into(),
                instances: 2,
                running: 1,
            }],
            ..CapacityLoad::default()
        };
        let body = body(&view(plan, load));
        let limits = body["plan"]["limits"].as_array().unwrap();
        let column = |name: &str| -> Vec<Option<u64>> {
            limits.iter().map(|limit| limit[name].as_u64()).collect()
        };
        assert_eq!(column("used"), [Some(2), Some(50), Some(4), Some(1), None]);
        assert_eq!(
            column("headroom"),
            [Some(3), Some(20), Some(0), Some(2), None]
        );
        assert_eq!(limits[3]["template"], "godot");
    }
}
