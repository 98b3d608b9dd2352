//! The bundled breaker policy: the numbers of `[breaker]` and `[template.NAME.breaker]`, each of which its own settings may replace for
//! every instance.
//!
//! With an empty configuration it answers as the built-in default does, word for word; the tests compare the two.

use router_plugin_sdk::{
    ConfigFault, Settings, Value,
    breaker_policy::{BreakerPolicy, Plan, Profile, Thresholds, ToolRows},
};

/// The policy.
#[derive(Debug, Clone, Copy)]
pub struct DefaultBreaker;

router_plugin_sdk::export_breaker_policy!(DefaultBreaker);

/// One number among the thresholds, as a setting.
struct Key {
    name: &'static str,
    least: f64,
    most: f64,
    set: fn(&mut Thresholds, f64),
}

const SHARE_MIN: f64 = 0.01;
const SHARE_MAX: f64 = 2.0;
const SECOND_MS: f64 = 1_000.0;
const HOUR_MS: f64 = 3_600.0 * SECOND_MS;
const DAY_MS: f64 = 24.0 * HOUR_MS;

/// The keys of `[plugins.config.default-breaker]` that are numbers, with the bounds that the router has for them too. Those that are no
/// shares are whole.
const KEYS: [Key; 12] = [
    Key {
        name: "consecutive_failures",
        least: 1.0,
        most: 10_000.0,
        set: |to, number| to.consecutive_failures = number as u32,
    },
    Key {
        name: "window_ms",
        least: SECOND_MS,
        most: HOUR_MS,
        set: |to, number| to.window_ms = number as u64,
    },
    Key {
        name: "min_samples",
        least: 1.0,
        most: 1_000_000.0,
        set: |to, number| to.min_samples = number as u64,
    },
    Key {
        name: FAILURE_SHARE,
        least: SHARE_MIN,
        most: SHARE_MAX,
        set: |to, number| to.failure_share = number,
    },
    Key {
        name: SLOW_SHARE,
        least: SHARE_MIN,
        most: SHARE_MAX,
        set: |to, number| to.slow_share = number,
    },
    Key {
        name: "slow_ms",
        least: 1.0,
        most: 365.0 * DAY_MS,
        set: |to, number| to.slow_ms = Some(number as u64),
    },
    Key {
        name: OPEN_FIRST,
        least: 100.0,
        most: DAY_MS,
        set: |to, number| to.open_first_ms = number as u64,
    },
    Key {
        name: OPEN_MAX,
        least: 100.0,
        most: DAY_MS,
        set: |to, number| to.open_max_ms = number as u64,
    },
    Key {
        name: "successes",
        least: 1.0,
        most: 1_000.0,
        set: |to, number| to.successes = number as u32,
    },
    Key {
        name: "permits",
        least: 1.0,
        most: 8.0,
        set: |to, number| to.permits = number as u32,
    },
    Key {
        name: "probe_timeout_ms",
        least: 100.0,
        most: HOUR_MS,
        set: |to, number| to.probe_timeout_ms = number as u64,
    },
    Key {
        name: "reset_after_ms",
        least: SECOND_MS,
        most: DAY_MS,
        set: |to, number| to.reset_after_ms = number as u64,
    },
];

const FAILURE_SHARE: &str = "failure_share";
const SLOW_SHARE: &str = "slow_share";
const OPEN_FIRST: &str = "open_first_ms";
const OPEN_MAX: &str = "open_max_ms";

/// The key that names the tools that get breakers of their own, separated by commas: whole names, or beginnings and `*`.
const TOOLS: &str = "tools";

/// Names that a plan may have rows for, and bytes of each.
const TOOLS_MAX: usize = 256;
const TOOL_NAME_BYTES_MAX: usize = 256;

/// The key that is a word: `enforce`, as without it, or `observe`.
const MODE: &str = "mode";

impl BreakerPolicy for DefaultBreaker {
    const NAME: &'static str = "default-breaker";
    const SUMMARY: &'static str = "the thresholds of the configuration, or of its own";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn check(settings: &Settings) -> Vec<ConfigFault> {
        let numbers = KEYS.map(|key| (key.name, key.least, key.most));
        let mut faults = settings.check_numbers(&numbers);
        faults.retain(|fault| ![MODE, TOOLS].contains(&fault.key.as_str()));
        faults.extend(tools_fault(settings));
        for key in &KEYS {
            let is_share = [FAILURE_SHARE, SLOW_SHARE].contains(&key.name);
            let is_whole = settings
                .number(key.name)
                .is_none_or(|number| number.fract() == 0.0);
            if !is_share && !is_whole {
                faults.push(fault(key.name, "is no whole number"));
            }
        }
        let open = settings.number(OPEN_FIRST).zip(settings.number(OPEN_MAX));
        if open.is_some_and(|(first, max)| first > max) {
            faults.push(fault(
                OPEN_MAX,
                "is shorter than open_first_ms; raise it, or lower open_first_ms",
            ));
        }
        match settings.get(MODE) {
            None => {}
            Some(Value::Text(mode)) if ["enforce", "observe"].contains(&mode.as_str()) => {}
            Some(_) => faults.push(fault(
                MODE,
                "is not known; expected \"enforce\" or \"observe\"",
            )),
        }
        faults
    }

    fn plan(profile: &Profile, settings: &Settings) -> Plan {
        let mut plan = Plan::configured(profile);
        let mut own = Vec::new();
        for key in &KEYS {
            if let Some(number) = settings.number(key.name) {
                (key.set)(&mut plan.thresholds, number);
                own.push(format!("{} = {number}", key.name));
            }
        }
        // One of the two may be an operator's and the other the policy's: the shortest OPEN that was asked for is honoured.
        let thresholds = &mut plan.thresholds;
        thresholds.open_max_ms = thresholds.open_max_ms.max(thresholds.open_first_ms);
        if !own.is_empty() {
            let reason = format!("{}, with {} of its settings", plan.reason, own.join(", "));
            plan = plan.because(reason);
        }
        plan.tools = settings.text(TOOLS).into_iter().flat_map(rows).collect();
        match settings.text(MODE) {
            Some("observe") => plan.and_observe(),
            _ => plan,
        }
    }
}

fn names(tools: &str) -> impl Iterator<Item = &str> {
    tools.split(',').map(str::trim)
}

/// A row for each, by which what counts for all counts for it too.
fn rows(tools: &str) -> impl Iterator<Item = ToolRows> {
    names(tools).map(|tool| ToolRows {
        tool: tool.to_owned(),
        slow_ms: None,
        table: Vec::new(),
        attributes: Vec::new(),
    })
}

/// What is wrong with the names, as the router would find it in the plan.
fn tools_fault(settings: &Settings) -> Option<ConfigFault> {
    let Value::Text(tools) = settings.get(TOOLS)? else {
        let reason = "is no text; expected names separated by commas";
        return Some(fault(TOOLS, reason));
    };
    let is_odd = |name: &str| {
        let beginning = name.strip_suffix('*').unwrap_or(name);
        name.is_empty()
            || name.len() > TOOL_NAME_BYTES_MAX
            || beginning.contains(|c: char| c == '*' || c.is_whitespace() || c.is_control())
    };
    let mut seen: Vec<&str> = names(tools).collect();
    if seen.iter().any(|name| is_odd(name)) {
        let reason = "has a name that is none of a tool, nor the beginning of one and *";
        return Some(fault(TOOLS, reason));
    }
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    let reason = if count > TOOLS_MAX {
        "has more than 256 names"
    } else if count > seen.len() {
        "has a name twice"
    } else {
        return None;
    };
    Some(fault(TOOLS, reason))
}

fn fault(key: &str, reason: &str) -> ConfigFault {
    ConfigFault {
        key: key.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests;
