//! An alert rule that names what its configuration says, so that a scenario decides what begins and ends: keys by severity (`P1 = ["a"]`), and
//! `count` further conditions of `severity`, whose keys are `prefix` and a number.

use router_plugin_sdk::{
    Settings, Value,
    alert_rule::{AlertRule, Condition, Fleet, Severity},
};

/// The guest.
#[derive(Debug, Clone, Copy)]
pub struct Configured;

router_plugin_sdk::export_alert_rule!(Configured);

const SEVERITIES: [(&str, Severity); 4] = [
    ("P1", Severity::P1),
    ("P2", Severity::P2),
    ("P3", Severity::P3),
    ("P4", Severity::P4),
];

impl AlertRule for Configured {
    const NAME: &'static str = "configured-rule";
    const SUMMARY: &'static str = "names what it is configured with";

    fn evaluate(_: &Fleet, settings: &Settings) -> Vec<Condition> {
        let mut conditions = Vec::new();
        for (name, severity) in SEVERITIES {
            if let Some(Value::Texts(keys)) = settings.get(name) {
                conditions.extend(keys.iter().map(|key| condition(key, severity, settings)));
            }
        }
        let severity = SEVERITIES
            .iter()
            .find(|(name, _)| settings.text("severity") == Some(name));
        let prefix = settings.text("prefix").unwrap_or_default();
        let count = settings.number("count").unwrap_or(0.0) as u32;
        for number in 0..count {
            let severity = severity.map_or(Severity::P3, |(_, severity)| *severity);
            conditions.push(condition(&format!("{prefix}{number}"), severity, settings));
        }
        conditions
    }
}

fn condition(key: &str, severity: Severity, settings: &Settings) -> Condition {
    let name = settings.text("name").unwrap_or("Configured");
    let summary = format!("{key} holds, as it is configured to");
    Condition::new(key, name, severity, summary)
        .with_remedy("Take it out of the configuration of the rule, and reload that.")
        .with_anchor("chaos")
}
