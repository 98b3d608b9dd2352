//! What a health policy is asked, and what it may answer.
//!
//! The WIT interface `router:health/health` mirrors these types; the built-in default answers from the same facts.

use std::sync::Arc;

/// The facts about one ready slot that a health policy judges. All durations are milliseconds, all sizes bytes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HealthFacts {
    /// The instance's id.
    pub instance: String,
    /// Which slot of it.
    pub slot: u32,
    /// Time since the slot became ready.
    pub uptime_ms: u64,
    /// Resident memory of the whole process tree, where it could be read.
    pub memory_bytes: Option<u64>,
    /// The template's `max_memory_mb`, where set.
    pub memory_limit_bytes: Option<u64>,
    /// How long ago the instance last answered anything (a ping or a request).
    pub heartbeat_age_ms: u64,
    /// Pings without an answer in a row.
    pub pings_failed: u32,
    /// Round trip of the last answered ping.
    pub ping_ms: Option<f64>,
    /// Requests over the last 5 minutes.
    pub window_requests: u64,
    /// Errors among them (breaker rejections and a tool's `isError` do not count).
    pub window_errors: u64,
    /// 95th percentile over the last 5 minutes; absent under 20 requests.
    pub window_p95_ms: Option<f64>,
    /// Starts after a failure over the last 5 minutes.
    pub restarts_recent: u32,
    /// Requests now waiting for an answer.
    pub in_flight: u32,
    /// Tools that the last good tool list had and the present one lacks.
    pub tools_missing: Vec<String>,
    /// Tools in the present list.
    pub tools_count: u32,
    /// Room to grow without breaking compiled guests.
    pub attributes: Vec<(String, String)>,
}

/// Health of a ready slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// Serves as expected.
    Healthy,
    /// Serves, but somebody should know.
    Degraded,
    /// Does not serve as it should.
    Unhealthy,
}

impl Health {
    /// The name shown in JSON, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What a health policy (or the built-in default) answered about one slot.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthVerdict {
    /// The health.
    pub health: Health,
    /// Why, for people; empty only for `healthy`.
    pub reason: String,
    /// Whether the slot should be drained and started anew. The host bounds how often it obeys.
    pub recycle: bool,
    /// Room to grow.
    pub attributes: Vec<(String, String)>,
}

impl HealthVerdict {
    /// Nothing to say.
    #[must_use]
    pub fn healthy() -> Self {
        Self {
            health: Health::Healthy,
            reason: String::new(),
            recycle: false,
            attributes: Vec::new(),
        }
    }

    /// Whether what it is about would not serve any more.
    pub(crate) fn takes_away(&self) -> bool {
        self.health == Health::Unhealthy || self.recycle
    }
}

/// Silence past which an instance is unhealthy; the limit that operators of the original router know.
const SILENT_UNHEALTHY_MS: u64 = 30_000;
/// Silence past which an instance without work in flight is recycled: it has then missed at least six pings.
const SILENT_RECYCLE_MS: u64 = 60_000;
/// The same with work in flight. A single-threaded server answers no ping during a long tool call: until then it is busy, which
/// deserves attention and no more. Longer than the default time allowed for a request.
const BUSY_RECYCLE_MS: u64 = 330_000;
/// Unanswered pings in a row that make an instance unhealthy.
const PINGS_UNHEALTHY: u32 = 3;
/// Shares say nothing about fewer requests.
const REQUESTS_MIN: u64 = 20;
/// Share of errors that deserves attention, and the one at which an instance rather fails than serves.
const ERRORS_DEGRADED: f64 = 0.05;
const ERRORS_UNHEALTHY: f64 = 0.5;
/// Memory that deserves attention, where no limit is set; and the share of a limit that does.
const MEMORY_DEGRADED_BYTES: u64 = 500 * 1024 * 1024;
const MEMORY_DEGRADED_SHARE: f64 = 0.8;
/// Starts after failures within five minutes that deserve attention.
const RESTARTS_DEGRADED: u32 = 3;
/// Missing tools named in a reason.
const TOOLS_NAMED_MAX: usize = 5;

/// The built-in default: answers where no policy is configured, and wherever one does not answer.
#[must_use]
pub fn builtin(facts: &HealthFacts) -> HealthVerdict {
    let mut unhealthy = Vec::new();
    let mut degraded = Vec::new();
    if let Some(text) = unanswered(facts) {
        let is_busy = facts.in_flight > 0 && facts.heartbeat_age_ms <= BUSY_RECYCLE_MS;
        if is_busy {
            degraded.push(format!(
                "{text}; {} requests are in flight",
                facts.in_flight
            ));
        } else {
            unhealthy.push(text);
        }
    }
    if facts.window_requests >= REQUESTS_MIN {
        let share = facts.window_errors as f64 / facts.window_requests as f64;
        let text = format!(
            "{:.0} % of {} requests failed in 5 minutes",
            share * 100.0,
            facts.window_requests
        );
        if share >= ERRORS_UNHEALTHY {
            unhealthy.push(text);
        } else if share > ERRORS_DEGRADED {
            degraded.push(text);
        }
    }
    degraded.extend(memory_in_use(facts));
    degraded.extend(tools_missing(facts));
    if facts.restarts_recent >= RESTARTS_DEGRADED {
        degraded.push(format!(
            "it failed and was started again {} times in 5 minutes",
            facts.restarts_recent
        ));
    }
    let health = match (unhealthy.is_empty(), degraded.is_empty()) {
        (false, _) => Health::Unhealthy,
        (true, false) => Health::Degraded,
        (true, true) => Health::Healthy,
    };
    unhealthy.append(&mut degraded);
    let patience_ms = if facts.in_flight > 0 {
        BUSY_RECYCLE_MS
    } else {
        SILENT_RECYCLE_MS
    };
    HealthVerdict {
        health,
        reason: unhealthy.join("; "),
        recycle: facts.heartbeat_age_ms > patience_ms && facts.pings_failed >= PINGS_UNHEALTHY,
        attributes: Vec::new(),
    }
}

fn unanswered(facts: &HealthFacts) -> Option<String> {
    if facts.heartbeat_age_ms > SILENT_UNHEALTHY_MS {
        let silent_s = facts.heartbeat_age_ms / 1_000;
        return Some(format!("nothing answered for {silent_s} s"));
    }
    let failed = facts.pings_failed;
    (failed >= PINGS_UNHEALTHY).then(|| format!("{failed} pings in a row were not answered"))
}

fn memory_in_use(facts: &HealthFacts) -> Option<String> {
    let bytes = facts.memory_bytes?;
    let mib = bytes / (1024 * 1024);
    match facts.memory_limit_bytes {
        Some(limit) if bytes as f64 >= limit as f64 * MEMORY_DEGRADED_SHARE => Some(format!(
            "{mib} MiB of {} MiB memory are in use",
            limit / (1024 * 1024)
        )),
        None if bytes > MEMORY_DEGRADED_BYTES => Some(format!("{mib} MiB of memory are in use")),
        _ => None,
    }
}

fn tools_missing(facts: &HealthFacts) -> Option<String> {
    let missing = &facts.tools_missing;
    let named: Vec<&str> = missing
        .iter()
        .take(TOOLS_NAMED_MAX)
        .map(String::as_str)
        .collect();
    let more = match missing.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!missing.is_empty()).then(|| {
        format!(
            "tools are missing since its last start: {}{more}",
            named.join(", ")
        )
    })
}

/// The verdict of several policies, in the order configured: the worst health counts, its reason names its policy where more
/// than one was `asked`, and any of them may ask for a recycle. A policy without an answer is left out; `None`: none answered.
#[must_use]
pub fn combine(asked: usize, verdicts: &[(Arc<str>, HealthVerdict)]) -> Option<HealthVerdict> {
    let rank = |(_, verdict): &&(Arc<str>, HealthVerdict)| (verdict.health, verdict.recycle);
    // Of several that are equally bad the first counts, but one that asks for a recycle comes before those that do not.
    let worst = verdicts.iter().rev().max_by_key(rank)?;
    let recycler = verdicts.iter().find(|(_, verdict)| verdict.recycle);
    let also = recycler.filter(|_| !worst.1.recycle);
    let mut reasons = Vec::new();
    for (policy, verdict) in [worst].into_iter().chain(also) {
        match verdict.reason.as_str() {
            "" => {}
            reason if asked > 1 => reasons.push(format!("{policy}: {reason}")),
            reason => reasons.push(reason.to_owned()),
        }
    }
    Some(HealthVerdict {
        health: worst.1.health,
        reason: reasons.join("; "),
        recycle: recycler.is_some(),
        attributes: worst.1.attributes.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Health, HealthFacts, HealthVerdict, builtin, combine};

    #[test]
    fn of_several_policies_the_worst_counts_and_any_may_ask_for_a_recycle() {
        let verdict = |policy: &str, health, reason: &str, recycle| {
            let reason = reason.to_owned();
            let verdict = HealthVerdict {
                health,
                reason,
                recycle,
                ..HealthVerdict::healthy()
            };
            (policy.into(), verdict)
        };
        let check = |asked, verdicts: &[_], health, reason: &str, recycle| {
            let combined = combine(asked, verdicts).unwrap();
            let got = (combined.health, combined.reason.as_str(), combined.recycle);
            assert_eq!(got, (health, reason, recycle), "{verdicts:?}");
        };
        use Health::{Degraded, Healthy, Unhealthy};
        let well = verdict("well", Healthy, "", false);
        let slow = verdict("slow", Degraded, "it is slow", false);
        let old = verdict("old", Degraded, "it is old", true);
        let ill = verdict("ill", Unhealthy, "it is ill", false);
        let worn = verdict("worn", Healthy, "", true);
        let all = |verdicts: &[&(_, _)]| {
            let verdicts = verdicts.iter().map(|verdict| (*verdict).clone());
            verdicts.collect::<Vec<_>>()
        };
        assert_eq!(combine(2, &[]), None);
        check(1, &all(&[&slow]), Degraded, "it is slow", false);
        // The other one did not answer.
        check(2, &all(&[&slow]), Degraded, "slow: it is slow", false);
        check(
            2,
            &all(&[&well, &slow]),
            Degraded,
            "slow: it is slow",
            false,
        );
        check(2, &all(&[&ill, &slow]), Unhealthy, "ill: it is ill", false);
        check(2, &all(&[&slow, &old]), Degraded, "old: it is old", true);
        check(2, &all(&[&well, &worn]), Healthy, "", true);
        let both = "ill: it is ill; old: it is old";
        check(3, &all(&[&old, &well, &ill]), Unhealthy, both, true);
    }

    #[test]
    fn the_built_in_default_judges_by_each_fact() {
        let fine = HealthFacts {
            uptime_ms: 60_000,
            memory_bytes: Some(100 << 20),
            window_requests: 100,
            window_errors: 5,
            ..HealthFacts::default()
        };
        let with = |change: &dyn Fn(&mut HealthFacts)| {
            let mut facts = fine.clone();
            change(&mut facts);
            let verdict = builtin(&facts);
            (verdict.health, verdict.recycle, verdict.reason)
        };
        let check =
            |health: Health, recycle: bool, word: &str, change: &dyn Fn(&mut HealthFacts)| {
                let (got, recycled, reason) = with(change);
                assert_eq!((got, recycled), (health, recycle), "{word}: {reason}");
                assert!(reason.contains(word), "{reason:?} lacks {word:?}");
                assert_eq!(reason.is_empty(), health == Health::Healthy);
            };
        check(Health::Healthy, false, "", &|_| {});
        check(Health::Degraded, false, "6 %", &|f| f.window_errors = 6);
        check(Health::Healthy, false, "", &|f| {
            (f.window_requests, f.window_errors) = (19, 19);
        });
        check(Health::Unhealthy, false, "50 %", &|f| f.window_errors = 50);
        check(Health::Healthy, false, "", &|f| f.heartbeat_age_ms = 30_000);
        check(Health::Unhealthy, false, "30 s", &|f| {
            f.heartbeat_age_ms = 30_001;
        });
        check(Health::Unhealthy, false, "3 pings", &|f| f.pings_failed = 3);
        check(Health::Unhealthy, true, "61 s", &|f| {
            (f.heartbeat_age_ms, f.pings_failed) = (61_000, 6);
        });
        check(Health::Degraded, false, "61 s", &|f| {
            (f.heartbeat_age_ms, f.pings_failed, f.in_flight) = (61_000, 6, 1);
        });
        check(Health::Degraded, false, "2 requests are in flight", &|f| {
            (f.pings_failed, f.in_flight) = (3, 2);
        });
        check(Health::Unhealthy, true, "331 s", &|f| {
            (f.heartbeat_age_ms, f.pings_failed, f.in_flight) = (331_000, 30, 1);
        });
        check(Health::Degraded, false, "501 MiB", &|f| {
            f.memory_bytes = Some(501 << 20);
        });
        check(Health::Healthy, false, "", &|f| {
            (f.memory_bytes, f.memory_limit_bytes) = (Some(700 << 20), Some(1 << 30));
        });
        check(Health::Degraded, false, "of 120 MiB", &|f| {
            f.memory_limit_bytes = Some(120 << 20);
        });
        check(Health::Degraded, false, "a, b", &|f| {
            f.tools_missing = vec!["a".into(), "b".into()];
        });
        check(Health::Degraded, false, "and 2 more", &|f| {
            f.tools_missing = vec!["t".into(); 7];
        });
        check(Health::Degraded, false, "3 times", &|f| {
            f.restarts_recent = 3;
        });
        check(Health::Unhealthy, false, "3 times", &|f| {
            (f.restarts_recent, f.pings_failed) = (3, 3);
        });
    }
}
