//! `[breaker]`, `[health]` and `[policy]`: by which numbers, how often and by whom instances are judged.

use std::time::Duration;

use router_core::permit::PERMITS_MAX;

use crate::{PolicyList, PolicyName, Switchable, instances::LONG, reader::ConfigSection};

/// `[breaker]`: when a breaker trips and how it recovers. `[template.NAME.breaker]` replaces single keys of it.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerConfig {
    /// Failures in a row that open it.
    pub consecutive_failures: u32,
    /// The time over which the shares are taken.
    pub window: Duration,
    /// Calls that the window must hold before its shares mean anything.
    pub min_samples: u64,
    /// Share of failed calls that opens it; above 1: never.
    pub failure_share: f64,
    /// A call that is answered after so long is slow; `None`: none is, since a tool call may rightly take minutes.
    pub slow: Option<Duration>,
    /// Share of slow calls that opens it; above 1: never.
    pub slow_share: f64,
    /// How long the first OPEN lasts, before jitter.
    pub open: Duration,
    /// How long an OPEN lasts at most; each further one doubles up to it.
    pub open_max: Duration,
    /// Successful probes that close it.
    pub successes: u32,
    /// Probes that may be under way at once in HALF_OPEN.
    pub probes: u32,
    /// How long a probe keeps its permit.
    pub probe_timeout: Duration,
    /// Each such time spent CLOSED takes one step off the length of the next OPEN, down to the first.
    pub reset_after: Duration,
}

/// `[health]`: how often instances are checked, and when the router as a whole is not well.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthConfig {
    /// How often each ready slot is judged anew.
    pub interval: Duration,
    /// How long a policy may take before the built-in rule answers in its place.
    pub policy_timeout: Duration,
    /// How often each ready slot is pinged.
    pub ping_interval: Duration,
    /// How long a ping may take.
    pub ping_timeout: Duration,
    /// For how long no wanted instance may be able to serve before readiness says `down`.
    pub unable_after: Duration,
    /// Share of a disk in use past which readiness says `degraded`.
    pub disk_share: f64,
}

/// `[policy]`: who answers which question. A template or an instance may name others.
#[derive(Debug, Clone, PartialEq)]
pub struct Policies {
    /// Who judges health.
    pub health: PolicyList,
    /// Who plans breakers.
    pub breaker: PolicyName,
    /// Who plans capacity; of the router only.
    pub capacity: PolicyName,
    /// Share of what is meant to run that may be recycled at once on a policy's word, from 0 to 1; one always may.
    pub max_recycling: f64,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            consecutive_failures: 3,
            window: seconds(60),
            min_samples: 20,
            failure_share: 0.5,
            slow: None,
            slow_share: 0.8,
            open: seconds(30),
            open_max: seconds(300),
            successes: 2,
            probes: 2,
            probe_timeout: seconds(30),
            reset_after: seconds(600),
        }
    }
}

impl BreakerConfig {
    /// Reads the thresholds of a section; those that are not there are as in `base`.
    pub(crate) fn read(outer: &ConfigSection<'_, '_>, base: &Self) -> Self {
        /// Above 1: never. A little above is a slip.
        const SHARE_MAX: f64 = 2.0;
        let section = outer.child("breaker");
        let (ms, seconds) = (Duration::from_millis, Duration::from_secs);
        let breaker = Self {
            consecutive_failures: section
                .key("consecutive_failures")
                .within(1, 10_000)
                .or(base.consecutive_failures),
            window: section
                .key("window")
                .within(seconds(1), seconds(3_600))
                .or(base.window),
            min_samples: section
                .key("min_samples")
                .within(1, 1_000_000)
                .or(base.min_samples),
            failure_share: section
                .key("failure_share")
                .within(0.01, SHARE_MAX)
                .or(base.failure_share),
            slow: section
                .key("slow")
                .within_or_off(ms(1), LONG)
                .or(Switchable(base.slow))
                .0,
            slow_share: section
                .key("slow_share")
                .within(0.01, SHARE_MAX)
                .or(base.slow_share),
            open: section
                .key("open")
                .within(ms(100), seconds(86_400))
                .or(base.open),
            open_max: section
                .key("open_max")
                .within(ms(100), seconds(86_400))
                .or(base.open_max),
            successes: section.key("successes").within(1, 1_000).or(base.successes),
            probes: section.key("probes").within(1, PERMITS_MAX).or(base.probes),
            probe_timeout: section
                .key("probe_timeout")
                .within(ms(100), seconds(3_600))
                .or(base.probe_timeout),
            reset_after: section
                .key("reset_after")
                .within(seconds(1), seconds(86_400))
                .or(base.reset_after),
        };
        // What is inherited was judged where it stands.
        if breaker.open > breaker.open_max && (section.is_there() || *base == Self::default()) {
            let remedy = "raise open_max, or lower open";
            section.reader.fault_at(
                &section.key_path("open_max"),
                "is shorter than open",
                remedy,
            );
        }
        let slow_share = section.key_path("slow_share");
        let is_meant = breaker.slow_share <= 1.0 && breaker.slow_share != base.slow_share;
        if breaker.slow.is_none() && is_meant && section.reader.is_set(&slow_share) {
            let what = "counts for nothing while slow is \"off\": say from when on a call is slow";
            section.reader.notice(slow_share, what);
        }
        section.close();
        breaker
    }
}

impl HealthConfig {
    pub(crate) fn read(root: &ConfigSection<'_, '_>) -> Self {
        let section = root.child("health");
        let (ms, seconds) = (Duration::from_millis, Duration::from_secs);
        let health = Self {
            interval: section
                .key("interval")
                .within(ms(100), seconds(3_600))
                .or(seconds(10)),
            policy_timeout: section
                .key("policy_timeout")
                .within(ms(10), seconds(60))
                .or(seconds(1)),
            ping_interval: section
                .key("ping_interval")
                .within(ms(100), seconds(3_600))
                .or(seconds(10)),
            ping_timeout: section
                .key("ping_timeout")
                .within(ms(10), seconds(600))
                .or(seconds(5)),
            unable_after: section
                .key("unable_after")
                .within(Duration::ZERO, seconds(3_600))
                .or(seconds(10)),
            disk_share: section.key("disk_share").within(0.01, 1.0).or(0.8),
        };
        section.close();
        health
    }
}

impl Policies {
    pub(crate) fn read(root: &ConfigSection<'_, '_>) -> Self {
        let section = root.child("policy");
        let bundled = |name| PolicyName::parse(name).expect("the bundled plugin's name is one");
        let policies = Self {
            health: section.key("health").or(bundled("default-health").into()),
            breaker: section.key("breaker").or(bundled("default-breaker")),
            capacity: section.key("capacity").or(bundled("default-capacity")),
            max_recycling: section.key("max_recycling").within(0.0, 1.0).or(0.2),
        };
        section.close();
        policies
    }
}
