//! The numbers that the core decides by, with their defaults and where each comes from.
//!
//! They are plain values: the configuration room validates them, the core trusts them but stays safe with any.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::policy::PolicyNames;

/// Everything the fleet is configured with. All durations are milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Seeds the jitter. Two fleets with the same seed and the same events decide the same.
    pub seed: u64,
    /// The first run id to hand out; the router derives it from its epoch, so that ids grow over restarts of the router.
    pub first_run: u64,
    /// Pauses between starts after failures.
    pub restart: RestartSettings,
    /// When failures become a crash loop.
    pub crash_loop: CrashLoopSettings,
    /// When a breaker trips and how it recovers, where an instance has no thresholds of its own.
    pub breaker: BreakerThresholds,
    /// The health policies of instances that name none. Without any the built-in rule judges.
    pub health_policies: PolicyNames,
    /// The breaker policy of instances that name none. Without one the built-in default answers.
    pub breaker_policy: PolicyNames,
    /// Questions for plans of breakers that may be open at once; the others wait for their turn. Guests share one thread: more at
    /// once would only wait there, past their deadline, whenever the policy of thousands of instances is swapped.
    pub plan_questions_max: usize,
    /// The capacity policy. Without one the built-in rule answers.
    pub capacity_policy: Option<Arc<str>>,
    /// How often the capacity policy is asked where nothing changes.
    pub capacity_every_ms: u64,
    /// How long after a question the next one may follow at the soonest, where the fleet changes.
    pub capacity_pause_ms: u64,
    /// The templates that are configured, sorted.
    pub templates: Arc<[Arc<str>]>,
    /// How often each ready slot is judged anew.
    pub health_every_ms: u64,
    /// How long a policy may take before the built-in default answers in its place.
    pub question_ms: u64,
    /// How often each ready slot is pinged.
    pub ping_every_ms: u64,
    /// How long a ping may take.
    pub ping_timeout_ms: u64,
    /// Between SIGTERM and the kill of the tree.
    pub term_ms: u64,
    /// How long to wait for a kill's result before the kill is asked for again.
    pub kill_retry_ms: u64,
    /// At most one recycle (asked for by a policy, or for memory at 90 %) per slot within this time, so that neither can loop a slot.
    pub recycle_every_ms: u64,
    /// Share of the slots that are meant to run which may be recycled at once on a policy's word, from 0 to 1; one always may.
    pub max_recycling: f64,
    /// Share of `max_memory_bytes` at which a slot is drained and recycled. At 1.0 it is killed.
    pub memory_recycle_share: f64,
    /// For how long no wanted instance may be able to serve before readiness says `down`.
    pub unable_ms: u64,
    /// Share of a disk in use past which readiness says `degraded`.
    pub disk_degraded_share: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 0,
            first_run: 1,
            restart: RestartSettings::default(),
            crash_loop: CrashLoopSettings::default(),
            breaker: BreakerThresholds::default(),
            health_policies: PolicyNames::default(),
            breaker_policy: PolicyNames::default(),
            plan_questions_max: 64,
            capacity_policy: None,
            // As often as the history gets a minute more.
            capacity_every_ms: 60_000,
            // A fleet that starts changes with every instance: one question for all that change within this time.
            capacity_pause_ms: 5_000,
            templates: Arc::default(),
            // The original router checked every 10 s, and its operators' dashboards expect that freshness.
            health_every_ms: 10_000,
            // A policy call is worth microseconds; a second means that the host is in trouble.
            question_ms: 1_000,
            ping_every_ms: 10_000,
            ping_timeout_ms: 5_000,
            term_ms: 5_000,
            kill_retry_ms: 5_000,
            recycle_every_ms: 600_000,
            // A policy that condemns everything at once must not take the fleet down (design, section 10).
            max_recycling: 0.2,
            memory_recycle_share: 0.9,
            unable_ms: 10_000,
            disk_degraded_share: 0.8,
        }
    }
}

/// Back-off between starts (after Kubernetes' KEP-4603 and Nomad).
#[derive(Debug, Clone, PartialEq)]
pub struct RestartSettings {
    /// The first pause.
    pub first_ms: u64,
    /// The longest pause, before jitter.
    pub max_ms: u64,
    /// Share by which a pause is stretched or shortened at random, from 0 to 1.
    pub jitter: f64,
    /// Time a slot must stay ready before its failures are forgotten.
    pub forget_after_ms: u64,
}

impl Default for RestartSettings {
    fn default() -> Self {
        Self {
            first_ms: 1_000,
            max_ms: 60_000,
            jitter: 0.25,
            forget_after_ms: 600_000,
        }
    }
}

/// Crash-loop protection (after OTP's restart intensity).
#[derive(Debug, Clone, PartialEq)]
pub struct CrashLoopSettings {
    /// So many failures …
    pub failures: u32,
    /// … within this time are a crash loop.
    pub window_ms: u64,
    /// So many failures with the same signature in a row, none of which ever became ready, are one too.
    pub same_signature: u32,
    /// Pause before a slot in crash loop is tried again; `None`: only an operator starts it.
    pub slow_retry_ms: Option<u64>,
}

impl Default for CrashLoopSettings {
    fn default() -> Self {
        Self {
            failures: 5,
            window_ms: 300_000,
            same_signature: 3,
            slow_retry_ms: Some(600_000),
        }
    }
}

/// When a breaker trips and how it recovers.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerThresholds {
    /// Failures in a row that open it.
    pub consecutive_failures: u32,
    /// Length of the sliding window that the shares are taken over.
    pub window_ms: u64,
    /// Calls that the window must hold before its shares mean anything.
    pub min_samples: u64,
    /// Share of failed calls in the window that opens it, from 0 to 1; above 1 switches this off.
    pub failure_share: f64,
    /// Share of slow calls in the window that opens it, from 0 to 1; above 1 switches this off.
    pub slow_share: f64,
    /// From which duration an answered call is slow; `None`: none is, since a tool call may rightly take minutes.
    pub slow_ms: Option<u64>,
    /// How long the first OPEN lasts, before jitter.
    pub open_first_ms: u64,
    /// How long an OPEN lasts at most; each further one doubles up to it.
    pub open_max_ms: u64,
    /// Successful probes that close it.
    pub successes: u32,
    /// Probes that may be under way at once in HALF_OPEN (at most [`crate::permit::PERMITS_MAX`]).
    pub permits: u32,
    /// How long a probe keeps its permit; past it another may take it.
    pub probe_ms: u64,
    /// Each such time spent CLOSED takes one step off the length of the next OPEN, down to the first.
    pub forget_after_ms: u64,
}

/// One of [`BreakerThresholds`], to be shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    /// A count, or milliseconds.
    Whole(u64),
    /// From 0 to 1, or above.
    Share(f64),
    /// Switched off.
    Off,
}

impl Serialize for Threshold {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole(number) => to.serialize_u64(*number),
            Self::Share(share) if share.is_finite() => to.serialize_f64(*share),
            // JSON has no numbers for NaN and infinity, which are why a plan is refused.
            Self::Share(share) => to.collect_str(share),
            Self::Off => to.serialize_none(),
        }
    }
}

impl BreakerThresholds {
    /// Each by the name that it has in JSON.
    #[must_use]
    pub fn named(&self) -> [(&'static str, Threshold); 12] {
        use Threshold::{Off, Share, Whole};
        [
            (
                "consecutiveFailures",
                Whole(self.consecutive_failures.into()),
            ),
            ("windowMs", Whole(self.window_ms)),
            ("minSamples", Whole(self.min_samples)),
            ("failureShare", Share(self.failure_share)),
            ("slowShare", Share(self.slow_share)),
            ("slowMs", self.slow_ms.map_or(Off, Whole)),
            ("openFirstMs", Whole(self.open_first_ms)),
            ("openMaxMs", Whole(self.open_max_ms)),
            ("successes", Whole(self.successes.into())),
            ("permits", Whole(self.permits.into())),
            ("probeTimeoutMs", Whole(self.probe_ms)),
            ("resetAfterMs", Whole(self.forget_after_ms)),
        ]
    }
}

impl Default for BreakerThresholds {
    fn default() -> Self {
        Self {
            consecutive_failures: 3,
            window_ms: 60_000,
            min_samples: 20,
            failure_share: 0.5,
            slow_share: 0.8,
            slow_ms: None,
            open_first_ms: 30_000,
            open_max_ms: 300_000,
            successes: 2,
            permits: 2,
            probe_ms: 30_000,
            forget_after_ms: 600_000,
        }
    }
}
