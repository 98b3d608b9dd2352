//! Capacity policies: the load of the fleet and its history in, a plan out. A policy answers at once and one question at a time.

use router_core::capacity::{
    CapacityLoad, CapacityPlan, FORECASTS_MAX, Forecast, LIMITS_MAX, Limit, LoadDay, LoadMinute,
    Measure, TemplateLoad, Usage,
};
use serde_json::{Map, Value, json};
use wasmtime::Store;

use super::{Budget, Contract, Kind, Unit, kind_bindings, kind_contract};
use crate::{
    bindings::types::Setting,
    guest::GuestState,
    texts::{
        REASON_BYTES_MAX, TEXT_BYTES_MAX, attributes_bytes, cut, pairs, truncate,
        truncate_attributes,
    },
};

kind_bindings!("export router:capacity/capacity@0.2.0;");

use bindings::exports::router::capacity::capacity as wit;

/// See the module.
#[derive(Debug)]
pub(crate) struct CapacityKind;

impl Kind for CapacityKind {
    kind_contract!(
        wit,
        Contract {
            world: "capacity-policy",
            question: "router:capacity/capacity@0.2.0",
            imports: &[],
            unit: Unit::Plugin,
            budget: Budget::POLICY,
        }
    );

    type Question = CapacityLoad;
    type Answer = CapacityPlan;

    async fn call(
        exports: &wit::Guest,
        store: &mut Store<GuestState>,
        load: &CapacityLoad,
        settings: &[Setting],
    ) -> wasmtime::Result<CapacityPlan> {
        let history = history_to_wit(load);
        let load = load_to_wit(load);
        let plan = exports.call_plan(store, &load, &history, settings).await?;
        Ok(from_wit(plan))
    }

    fn show(load: &CapacityLoad, plan: Option<&CapacityPlan>) -> Map<String, Value> {
        let mut fields = Map::new();
        let mut field = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        field("load", show_load(load));
        if let Some(plan) = plan {
            field("required", plan.required.into());
            field("reason", plan.reason.as_str().into());
            let limits = plan.limits.iter().map(|limit| {
                json!({
                    "of": limit.of.as_str(),
                    "template": limit.of.template(),
                    "most": limit.most,
                    "refusal": limit.refusal,
                })
            });
            field("limits", limits.collect());
            let forecasts = plan.forecasts.iter().map(|forecast| {
                json!({
                    "of": forecast.of.as_str(),
                    "template": forecast.of.template(),
                    "at": crate::view::time(forecast.at_ms),
                    "summary": forecast.summary,
                })
            });
            field("forecasts", forecasts.collect());
            field("attributes", json!(pairs::<String>(&plan.attributes)));
        }
        fields
    }

    fn bytes(load: &CapacityLoad, plan: Option<&CapacityPlan>) -> usize {
        let templates = load.templates.as_slice();
        let names: usize = templates.iter().map(|template| template.name.len()).sum();
        let history = &load.history;
        let answer = plan.map_or(0, |plan| {
            let limits = plan.limits.iter().map(|limit| {
                measure_bytes(&limit.of) + limit.refusal.len() + attributes_bytes(&limit.attributes)
            });
            let forecasts = plan.forecasts.iter().map(|forecast| {
                measure_bytes(&forecast.of)
                    + forecast.summary.len()
                    + attributes_bytes(&forecast.attributes)
            });
            plan.reason.len()
                + attributes_bytes(&plan.attributes)
                + limits.chain(forecasts).sum::<usize>()
                + size_of_val(plan.limits.as_slice())
                + size_of_val(plan.forecasts.as_slice())
        });
        // Questions of the same minute share their history; those of others do not.
        size_of_val(history.minutes.as_slice())
            + size_of_val(history.days.as_slice())
            + size_of_val(templates)
            + names
            + answer
    }
}

fn measure_bytes(of: &Measure) -> usize {
    match of {
        Measure::RunningOfTemplate(name) | Measure::Other(name) => name.len(),
        Measure::Running | Measure::MemoryBytes | Measure::InFlight => 0,
    }
}

/// The load in full, but of the history only how long it is: `GET /api/capacity` shows it.
fn show_load(load: &CapacityLoad) -> Value {
    let templates = load.templates.iter().map(|template| {
        json!({
            "name": &*template.name,
            "instances": template.instances,
            "running": template.running,
        })
    });
    json!({
        "now": crate::view::time(load.now_ms),
        "instances": load.instances,
        "running": load.usage.running,
        "inFlight": load.usage.in_flight,
        "memoryBytes": load.usage.memory_bytes,
        "memoryTotalBytes": load.memory_total_bytes,
        "memoryFreeBytes": load.memory_free_bytes,
        "processors": load.processors,
        "templates": templates.collect::<Value>(),
        "minutes": load.history.minutes.len(),
        "days": load.history.days.len(),
    })
}

fn usage(usage: Usage) -> wit::Usage {
    wit::Usage {
        running: usage.running,
        in_flight: usage.in_flight,
        memory_bytes: usage.memory_bytes,
    }
}

fn load_to_wit(load: &CapacityLoad) -> wit::Load {
    let template = |template: &TemplateLoad| wit::TemplateLoad {
        name: template.name.to_string(),
        instances: template.instances,
        running: template.running,
        attributes: Vec::new(),
    };
    wit::Load {
        now_ms: load.now_ms,
        instances: load.instances,
        usage: usage(load.usage),
        memory_total_bytes: load.memory_total_bytes,
        memory_free_bytes: load.memory_free_bytes,
        processors: load.processors,
        templates: load.templates.iter().map(template).collect(),
        attributes: load.attributes.clone(),
    }
}

fn history_to_wit(load: &CapacityLoad) -> wit::History {
    let minute = |minute: &LoadMinute| wit::Minute {
        at_ms: minute.at_ms,
        peak: usage(minute.peak),
        attributes: Vec::new(),
    };
    let day = |day: &LoadDay| wit::Day {
        at_ms: day.at_ms,
        mean: usage(day.mean),
        peak: usage(day.peak),
        attributes: Vec::new(),
    };
    wit::History {
        minutes: load.history.minutes.iter().map(minute).collect(),
        days: load.history.days.iter().map(day).collect(),
        attributes: Vec::new(),
    }
}

/// Texts are cut to what the interface states. Of a list that is too long one row more stays than it may have: the core refuses
/// such a plan, and says why.
fn from_wit(plan: wit::CapacityPlan) -> CapacityPlan {
    let wit::CapacityPlan {
        required,
        mut reason,
        limits,
        forecasts,
        mut attributes,
    } = plan;
    truncate(&mut reason, REASON_BYTES_MAX);
    if reason.is_empty() {
        "the policy gave no reason".clone_into(&mut reason);
    }
    truncate_attributes(&mut attributes);
    let limit = |limit: wit::Limit| Limit {
        of: measure(limit.of),
        most: limit.most,
        refusal: cut(&limit.refusal, REASON_BYTES_MAX).to_owned(),
        attributes: bounded(limit.attributes),
    };
    let forecast = |forecast: wit::Forecast| Forecast {
        of: measure(forecast.of),
        at_ms: forecast.at_ms,
        summary: cut(&forecast.summary, REASON_BYTES_MAX).to_owned(),
        attributes: bounded(forecast.attributes),
    };
    CapacityPlan {
        required,
        reason,
        limits: limits.into_iter().take(LIMITS_MAX + 1).map(limit).collect(),
        forecasts: forecasts
            .into_iter()
            .take(FORECASTS_MAX + 1)
            .map(forecast)
            .collect(),
        attributes,
    }
}

fn bounded(mut attributes: Vec<(String, String)>) -> Vec<(String, String)> {
    truncate_attributes(&mut attributes);
    attributes
}

fn measure(of: wit::Measure) -> Measure {
    let name = |name: String| cut(&name, TEXT_BYTES_MAX).into();
    match of {
        wit::Measure::Running => Measure::Running,
        wit::Measure::MemoryBytes => Measure::MemoryBytes,
        wit::Measure::InFlight => Measure::InFlight,
        wit::Measure::RunningOfTemplate(template) => Measure::RunningOfTemplate(name(template)),
        wit::Measure::Other(other) => Measure::Other(name(other)),
    }
}

#[cfg(test)]
mod tests {
    use router_core::capacity::{FORECASTS_MAX, LIMITS_MAX, Measure};

    use super::{from_wit, wit};
    use crate::texts::ATTRIBUTES_MAX;

    #[test]
    fn a_plan_is_cut_to_what_its_interface_states_and_a_list_to_one_row_too_many() {
        let long = "é".repeat(10_000);
        let attributes = vec![(long.clone(), long.clone()); 100];
        let limit = wit::Limit {
            of: wit::Measure::RunningOfTemplate(long.clone()),
            most: 5,
            refusal: long.clone(),
            attributes: attributes.clone(),
        };
        let short = wit::Limit {
            of: wit::Measure::Running,
            most: 1,
            refusal: String::new(),
            attributes: Vec::new(),
        };
        let forecast = wit::Forecast {
            of: wit::Measure::Running,
            at_ms: 7,
            summary: long.clone(),
            attributes: Vec::new(),
        };
        let plan = from_wit(wit::CapacityPlan {
            required: 3,
            reason: long,
            limits: [limit].into_iter().chain(vec![short; 300]).collect(),
            forecasts: vec![forecast; FORECASTS_MAX + 9],
            attributes,
        });
        assert_eq!((plan.required, plan.reason.len()), (3, 1024));
        assert_eq!(plan.limits.len(), LIMITS_MAX + 1);
        assert_eq!(plan.forecasts.len(), FORECASTS_MAX + 1);
        assert_eq!(plan.attributes.len(), ATTRIBUTES_MAX);
        let limit = &plan.limits[0];
        assert!(matches!(&limit.of, Measure::RunningOfTemplate(name) if name.len() == 256));
        assert_eq!((limit.most, limit.refusal.len()), (5, 1024));
        assert_eq!(limit.attributes.len(), ATTRIBUTES_MAX);
        assert_eq!(plan.forecasts[0].summary.len(), 1024);
    }
}
