//! The bundled alert rule: the router's own conditions, with the thresholds of the runbook, each a key of the configuration.
//!
//! What an alert is called, how soon it matters and what to do stands in `catalogue`; from when on something is one, in `limits`; here
//! is how the configuration changes both, and how an answer stays within what it may hold.

mod catalogue;
mod checks;
mod limits;

use std::collections::HashSet;

use router_plugin_sdk::{
    ConfigFault, Settings, Value,
    alert_rule::{AlertRule, CONDITIONS_MAX, Condition, Fleet, KEY_BYTES_MAX, Severity},
};

use catalogue::{Alert, CATALOGUE, TOO_MANY_CONDITIONS};
use limits::{LIMITS, Limits};

/// The rule.
#[derive(Debug, Clone, Copy)]
pub struct DefaultAlerts;

router_plugin_sdk::export_alert_rule!(DefaultAlerts);

/// `severity.HighErrorRate = "P3"`; `"off"`: never.
const SEVERITY: &str = "severity.";

/// `for_ms.HighErrorRate = 60000`.
const FOR_MS: &str = "for_ms.";

/// A condition that is to hold for longer than a day is none that anybody is called for.
const FOR_MS_MAX: f64 = 8.64e7;

/// What a severity may be in the configuration.
const SEVERITIES: [(&str, Option<Severity>); 5] = [
    ("P1", Some(Severity::P1)),
    ("P2", Some(Severity::P2)),
    ("P3", Some(Severity::P3)),
    ("P4", Some(Severity::P4)),
    ("off", None),
];

impl AlertRule for DefaultAlerts {
    const NAME: &'static str = "default-alerts";
    const SUMMARY: &'static str = "the router's own conditions, with the thresholds of the runbook";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn check(settings: &Settings) -> Vec<ConfigFault> {
        let for_ms: Vec<String> = CATALOGUE
            .iter()
            .map(|alert| format!("{FOR_MS}{}", alert.name))
            .collect();
        let known: Vec<(&str, f64, f64)> = LIMITS
            .iter()
            .map(|(key, _, least, most)| (*key, *least, *most))
            .chain(for_ms.iter().map(|key| (key.as_str(), 0.0, FOR_MS_MAX)))
            .collect();
        let mut faults = settings.check_numbers(&known);
        faults.retain(|fault| !fault.key.starts_with(SEVERITY));
        faults.extend(
            settings
                .keys()
                .filter_map(|key| severity_fault(settings, key)),
        );
        faults
    }

    fn evaluate(fleet: &Fleet, settings: &Settings) -> Vec<Condition> {
        let mut raised = Raised::new(settings);
        checks::all(fleet, &Limits::of(settings), &mut raised);
        raised.into_answer()
    }
}

/// What is wrong with a key of the configuration that gives a severity.
fn severity_fault(settings: &Settings, key: &str) -> Option<ConfigFault> {
    let name = key.strip_prefix(SEVERITY)?;
    let reason = if !CATALOGUE.iter().any(|alert| alert.name == name) {
        "is not the name of an alert of this rule".to_owned()
    } else if severity(settings, key).is_none() {
        "is no severity; expected \"P1\", \"P2\", \"P3\", \"P4\" or \"off\"".to_owned()
    } else {
        return None;
    };
    Some(ConfigFault {
        key: key.to_owned(),
        reason,
    })
}

fn severity(settings: &Settings, key: &str) -> Option<Option<Severity>> {
    let Value::Text(text) = settings.get(key)? else {
        return None;
    };
    let (_, severity) = SEVERITIES.iter().find(|(name, _)| name == text)?;
    Some(*severity)
}

/// What holds. Conditions are made of it at the end, of as many as an answer may name.
struct Raised {
    /// Each kind of alert as the configuration has it, in the order of the catalogue.
    configured: Vec<Configured>,
    found: Vec<Found>,
}

struct Configured {
    alert: &'static Alert,
    /// `None`: it is off.
    severity: Option<Severity>,
    for_ms: u64,
}

struct Found {
    severity: Severity,
    /// Which of the kinds of alert.
    at: usize,
    key: String,
    about: About,
    summary: String,
}

/// What a condition is about.
enum About {
    Fleet,
    /// A plugin, a sink or a disk, by name.
    Part(String),
    Instance(String),
}

impl About {
    fn name(&self) -> &str {
        match self {
            Self::Fleet => "",
            Self::Part(name) | Self::Instance(name) => name,
        }
    }
}

impl Raised {
    fn new(settings: &Settings) -> Self {
        let configured = |alert: &'static Alert| {
            let key = format!("{SEVERITY}{}", alert.name);
            let for_ms = settings.number(&format!("{FOR_MS}{}", alert.name));
            Configured {
                alert,
                severity: severity(settings, &key).unwrap_or(Some(alert.severity)),
                for_ms: for_ms.map_or(alert.for_ms, |ms| ms as u64),
            }
        };
        Self {
            configured: CATALOGUE.iter().map(configured).collect(),
            found: Vec::new(),
        }
    }

    /// A condition of the fleet.
    fn raise(&mut self, alert: &Alert, summary: String) {
        self.add(alert, alert.name, About::Fleet, summary);
    }

    /// A condition of a part of it that is no instance.
    fn raise_of_part(&mut self, alert: &Alert, part: &str, summary: String) {
        let key = format!("{}/{part}", alert.name);
        self.add(alert, &key, About::Part(part.to_owned()), summary);
    }

    /// A condition of one instance.
    fn raise_of(&mut self, alert: &Alert, instance: &str, summary: String) {
        let key = format!("{}/{instance}", alert.name);
        self.add(alert, &key, About::Instance(instance.to_owned()), summary);
    }

    fn add(&mut self, alert: &Alert, key: &str, about: About, summary: String) {
        let mut all = self.configured.iter();
        let at = all.position(|configured| configured.alert.name == alert.name);
        let severity = at.and_then(|at| self.configured.get(at)?.severity);
        if let (Some(at), Some(severity)) = (at, severity) {
            self.found.push(Found {
                severity,
                at,
                key: bounded(key),
                about,
                summary,
            });
        }
    }

    /// At most as many as an answer may have: the most severe, and that there are more. In the same order each time, so that the same
    /// ones are named as long as the same hold.
    fn into_answer(mut self) -> Vec<Condition> {
        // An answer with the same key twice counts as none, and then nothing would be said at all.
        let mut keys = HashSet::new();
        self.found.retain(|one| keys.insert(one.key.clone()));
        if self.found.len() > CONDITIONS_MAX {
            let order = |one: &Found, other: &Found| {
                (one.severity as u8, &one.key).cmp(&(other.severity as u8, &other.key))
            };
            self.found.sort_unstable_by(order);
            let more = self.found.len() + 1 - CONDITIONS_MAX;
            self.found.truncate(CONDITIONS_MAX - 1);
            let summary = format!("{more} more conditions hold than one answer may name");
            self.raise(&TOO_MANY_CONDITIONS, summary);
        }
        let configured = &self.configured;
        let found = self.found.into_iter();
        found
            .filter_map(|one| {
                let configured = configured.get(one.at)?;
                Some(one.condition(configured))
            })
            .collect()
    }
}

impl Found {
    fn condition(self, configured: &Configured) -> Condition {
        let alert = configured.alert;
        let remedy = alert.remedy.replace("{}", self.about.name());
        let instance = match self.about {
            About::Instance(instance) => Some(instance),
            About::Fleet | About::Part(_) => None,
        };
        Condition {
            instance,
            ..Condition::new(self.key, alert.name, self.severity, self.summary)
                .with_remedy(remedy)
                .with_anchor(alert.anchor)
                .after_ms(configured.for_ms)
        }
    }
}

/// A key that is short enough and is one line: of another one, such as a path, the beginning, and a hash of the whole.
fn bounded(key: &str) -> String {
    if key.len() <= KEY_BYTES_MAX && !key.contains(char::is_control) {
        return key.to_owned();
    }
    // FNV-1a: the same in every version of this plugin.
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut end = key.len().min(KEY_BYTES_MAX - 17);
    while !key.is_char_boundary(end) {
        end -= 1;
    }
    let beginning = key[..end].replace(char::is_control, "?");
    format!("{beginning}~{hash:016x}")
}

#[cfg(test)]
mod tests;
