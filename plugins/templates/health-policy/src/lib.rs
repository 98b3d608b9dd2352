//! Degraded when slow: past `p95_ms` of the configuration at the 95th percentile.

use router_plugin_sdk::{
    ConfigFault, Settings,
    health_policy::{Facts, HealthPolicy, Verdict},
    host::{self, LogLevel},
};

/// The policy.
pub struct Strict;

router_plugin_sdk::export_health_policy!(Strict);

impl HealthPolicy for Strict {
    const NAME: &'static str = "strict-health";
    const SUMMARY: &'static str = "degraded when slow";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn check(settings: &Settings) -> Vec<ConfigFault> {
        settings.check_numbers(&[("p95_ms", 1.0, 60_000.0)])
    }

    fn judge(facts: &Facts, settings: &Settings) -> Verdict {
        let limit = settings.number("p95_ms").unwrap_or(200.0);
        match facts.window_p95_ms {
            Some(p95) if p95 > limit => {
                let line = format!("{}: {p95:.0} ms, and {limit} are allowed", facts.instance);
                host::log(LogLevel::Debug, &line);
                Verdict::degraded(format!("p95 is {p95:.0} ms"))
            }
            _ => Verdict::healthy(),
        }
    }
}

#[cfg(test)]
mod tests {
    use router_plugin_sdk::{
        Settings,
        health_policy::{Facts, HealthPolicy as _},
        host::FakeHost,
    };

    use super::Strict;

    #[test]
    fn slow_is_degraded() {
        let slow = Facts {
            window_p95_ms: Some(300.0),
            ..Facts::default()
        };
        let host = FakeHost::new();
        let verdict = host.call(|| Strict::judge(&slow, &Settings::default()));
        assert_eq!(verdict.reason, "p95 is 300 ms");
        assert_eq!(host.lines()[0].message, "demo: 300 ms, and 200 are allowed");
    }
}
