//! An alert rule that misbehaves as its configuration demands: what the engine must survive, and what may resolve nothing.

use hostile_guests::{endless, memory, trap};
use router_plugin_sdk::{
    ConfigFault, Settings,
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

    fn check(settings: &Settings) -> Vec<ConfigFault> {
        match settings.text("mode") {
            Some("refuses") => vec![ConfigFault {
                key: "mode".to_owned(),
                reason: "is refused".to_owned(),
            }],
            _ => Vec::new(),
        }
    }

    fn evaluate(fleet: &Fleet, settings: &Settings) -> Vec<Condition> {
        let numbered = |count: usize| (0..count).map(|n| condition(&n.to_string())).collect();
        let huge = || "é".repeat(10_000);
        let count = settings.number("count").unwrap_or(1.0) as usize;
        match settings.text("mode").unwrap_or("nothing") {
            "loop" => endless(),
            "trap" => trap(),
            "memory" => memory(),
            "list" => listed(settings),
            "log" => loop {
                host::log(LogLevel::Error, &huge());
            },
            "most" => numbered(1_000),
            "many" => numbered(1_001),
            "some" => numbered(count),
            // New ones each time, so that each answer pages anew.
            "new" => (0..count)
                .map(|n| condition(&format!("{}-{n}", fleet.now_ms)))
                .collect(),
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

/// What holds for as long as it stands in the settings: `alert.KEY = "P1 Name instance"`, the instance and its space left out where it
/// has none; and what a stranger says of all of it.
fn listed(settings: &Settings) -> Vec<Condition> {
    let summary = settings.text("summary").unwrap_or("it holds");
    let keys = settings
        .keys()
        .filter_map(|key| Some((key, key.strip_prefix("alert.")?)));
    let conditions = keys.filter_map(|(setting, key)| {
        let mut parts = settings.text(setting)?.split(' ');
        let severity = match parts.next()? {
            "P1" => Severity::P1,
            "P2" => Severity::P2,
            "P3" => Severity::P3,
            _ => Severity::P4,
        };
        let one = Condition::new(key, parts.next()?, severity, summary);
        Some(match parts.next() {
            Some(instance) => one.of_instance(instance),
            None => one,
        })
    });
    conditions.collect()
}

fn condition(key: &str) -> Condition {
    Condition::new(key, "Hostile", Severity::P1, "as it was configured")
}
