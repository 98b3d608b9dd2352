//! Instances that must always run: those of the template `template` of the configuration. One that does not is an alert after `for_ms`.

use router_plugin_sdk::{
    ConfigFault, Settings,
    alert_rule::{AlertRule, Condition, Fleet, Severity},
};

/// The rule.
pub struct MustRun;

router_plugin_sdk::export_alert_rule!(MustRun);

impl AlertRule for MustRun {
    const NAME: &'static str = "must-run";
    const SUMMARY: &'static str = "instances that must always run";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn check(settings: &Settings) -> Vec<ConfigFault> {
        if settings.text("template").is_some() {
            return Vec::new();
        }
        let reason = "is missing: the template whose instances must run".to_owned();
        let key = "template".to_owned();
        vec![ConfigFault { key, reason }]
    }

    fn evaluate(fleet: &Fleet, settings: &Settings) -> Vec<Condition> {
        let for_ms = settings.number("for_ms").unwrap_or(60_000.0) as u64;
        let of_template = fleet
            .instances
            .iter()
            .filter(|one| one.template.as_deref() == settings.text("template"));
        let down = of_template.filter(|one| one.lifecycle != "ready");
        down.map(|one| {
            let id = &one.instance;
            let summary = format!("{id} must run, and is {}: {}", one.lifecycle, one.reason);
            // The key says what is wrong with what, so that the same condition has the same key the next time.
            Condition::new(format!("must-run/{id}"), "MustRun", Severity::P2, summary)
                .with_remedy(format!("POST /api/instances/{id}/start"))
                .of_instance(id)
                .after_ms(for_ms)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use router_plugin_sdk::{
        Settings, Value,
        alert_rule::{AlertRule as _, Fleet, InstanceState},
    };

    use super::MustRun;

    #[test]
    fn one_that_does_not_run_is_named() {
        let of_template = |instance: &str, lifecycle: &str| InstanceState {
            instance: instance.to_owned(),
            template: Some("godot".to_owned()),
            lifecycle: lifecycle.to_owned(),
            reason: "stopped by an operator".to_owned(),
            ..InstanceState::default()
        };
        let fleet = Fleet {
            instances: vec![of_template("41", "ready"), of_template("42", "stopped")],
            ..Fleet::default()
        };
        let settings = Settings::of([("template", Value::Text("godot".to_owned()))]);
        let conditions = MustRun::evaluate(&fleet, &settings);
        assert_eq!(conditions.len(), 1);
        assert_eq!(
            conditions[0].summary,
            "42 must run, and is stopped: stopped by an operator"
        );
    }
}
