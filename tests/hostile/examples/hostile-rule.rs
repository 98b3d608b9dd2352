//! An alert rule that misbehaves as its configuration demands: what the engine must survive, and what may resolve nothing.

use hostile_guests::{endless, trap};
use router_plugin_sdk::{
    Settings,
    alert_rule::{AlertRule, Condition, Fleet, Severity},
    host::{self, LogLevel},
};

/// The guest.
#[derive(Debug, Clone, Copy)]
pub struct Hostile;

router_plugin_sdk::export_alert_rule!(Hostile);

impl AlertRule for Hostile {
    const NAME: &'static str = "hostile-rule";
    const SUMMARY: &'static str = "misbehaves as it is configured";

    fn evaluate(fleet: &Fleet, settings: &Settings) -> Vec<Condition> {
        let numbered = |count: usize| (0..count).map(|n| condition(&n.to_string())).collect();
        let count = settings.number("count").unwrap_or(1.0) as usize;
        let huge = || "é".repeat(10_000);
        match settings.text("mode").unwrap_or("nothing") {
            "loop" => endless(),
            "trap" => trap(),
            "log" => loop {
                host::log(LogLevel::Error, &huge());
            },
            "most" => numbered(1_000),
            "many" => numbered(1_001),
            "flood" => numbered(100_000),
            "twice" => vec![condition("same"), condition("other"), condition("same")],
            "empty-key" => vec![condition("")],
            "empty-name" => vec![Condition::new("key", "", Severity::P1, "it holds")],
            "long-key" => vec![condition(&huge())],
            "two-lines" => vec![condition("key\nlevel=ERROR")],
            "nobody" => vec![condition("key").of_instance("no body")],
            "for-ever" => vec![condition("key").after_ms(u64::MAX)],
            "huge-texts" => {
                let mut one = condition("key").with_remedy(huge()).with_anchor(huge());
                one.summary = format!("first\nsecond {}", huge());
                one.attributes = vec![(huge(), huge()); 80];
                vec![one]
            }
            "some" => numbered(count),
            // New ones each time, so that each answer pages anew.
            "new" => (0..count)
                .map(|n| condition(&format!("{}-{n}", fleet.now_ms)))
                .collect(),
            // 8 MiB of text that would be cut.
            "heavy" => (0..400)
                .map(|n| condition(&n.to_string()).with_remedy(huge()))
                .collect(),
            _ => vec![Condition::new(
                "instances",
                "Instances",
                Severity::P4,
                format!("{} on this page", fleet.instances.len()),
            )],
        }
    }
}

fn condition(key: &str) -> Condition {
    Condition::new(key, "Hostile", Severity::P1, "as it was configured")
}
