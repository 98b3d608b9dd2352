//! Every plugin's state: which generation serves, how its calls went, its strikes, and what was refused.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    sync::{Arc, Weak},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use router_core::health::{HealthFacts, HealthVerdict};
use tokio::sync::Mutex as AsyncMutex;

use crate::{
    Grants, Limits,
    contract::{Misfit, WORLD_SERVED},
    directory::Stamps,
    generation::{Failure, FailureKind, Generation},
    view::{CallFigures, Decision, PluginView, Refusal, pairs},
};

/// Failures in a row that put a plugin into quarantine; one is enough that ran into a bound.
const STRIKES_MAX: u32 = 3;

/// The first quarantine, and the longest; each further one doubles, and a success starts them over.
const QUARANTINE_FIRST: Duration = Duration::from_secs(10);
const QUARANTINE_MAX: Duration = Duration::from_secs(300);

/// A candidate whose refusal may pass is tried again after this, which doubles up to the longest: what it lacks may be there in
/// a moment, and what never will be there must not cost a compilation every two seconds.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(300);

/// Decisions that are kept per plugin, the memory that they may take, and durations that figures are made of. One takes some
/// hundred bytes, and thirty thousand where a guest says as much as it may.
const DECISIONS_MAX: usize = 256;
const DECISIONS_BYTES_MAX: usize = 1024 * 1024;
const DURATIONS_MAX: usize = 1024;

/// Something that people should know of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineEvent {
    /// A generation was taken into service.
    Swapped {
        /// Which plugin.
        plugin: String,
        /// Which generation.
        generation: u64,
        /// What it says it does.
        summary: String,
    },
    /// A candidate was refused; the generation before goes on.
    Refused {
        /// Which plugin.
        plugin: String,
        /// Why, and what to do.
        reason: String,
        /// Which generation goes on; 0: none.
        serving: u64,
    },
    /// It failed too often in a row, and is not asked for a while.
    Quarantined {
        /// Which plugin.
        plugin: String,
        /// How it failed last.
        reason: String,
        /// For how long.
        pause: Duration,
    },
    /// It answered again.
    Released {
        /// Which plugin.
        plugin: String,
    },
    /// Nobody asked it any more, so that its quarantine ended without a trial.
    Lapsed {
        /// Which plugin.
        plugin: String,
    },
    /// A policy names it, and there is no such plugin.
    Missing {
        /// Which plugin.
        plugin: String,
    },
    /// Its file is gone.
    Removed {
        /// Which plugin.
        plugin: String,
    },
}

/// One plugin.
#[derive(Default)]
pub(crate) struct Entry {
    pub(crate) serving: Option<Arc<Generation>>,
    /// Questions take turns: guests share one thread, so that two at once would only take the memory of two.
    pub(crate) turn: Arc<AsyncMutex<()>>,
    pub(crate) stamps: Stamps,
    /// The digest that was looked at last, served or refused.
    pub(crate) looked_at: String,
    refusal: Option<Refusal>,
    retry: Option<Retry>,
    pub(crate) grants: Grants,
    pub(crate) requested: Grants,
    pub(crate) limits: Limits,
    /// Since when its file is missing.
    pub(crate) missing_since: Option<Instant>,
    loaded_at_ms: Option<u64>,
    alive: Vec<Weak<Generation>>,
    calls: u64,
    call_time: Duration,
    failures: BTreeMap<FailureKind, u64>,
    last_error: Option<String>,
    strikes: u32,
    quarantine: Option<Quarantine>,
    reloads: u64,
    refusals: BTreeMap<&'static str, u64>,
    decisions: VecDeque<Decision>,
    decisions_bytes: usize,
    durations: VecDeque<f64>,
}

/// When a refused candidate is tried again.
#[derive(Clone, Copy)]
struct Retry {
    at: Instant,
    pause: Duration,
}

impl Retry {
    fn after(before: Option<Self>, now: Instant) -> Self {
        let pause = before.map_or(RETRY_FIRST, |before| (before.pause * 2).min(RETRY_MAX));
        Self {
            at: now + pause,
            pause,
        }
    }
}

#[derive(Clone, Copy)]
struct Quarantine {
    until: Instant,
    pause: Duration,
    /// Its time is over and one call tries it.
    on_trial: bool,
    /// Its time is over and nobody tried it.
    has_lapsed: bool,
}

impl Quarantine {
    fn of(pause: Duration, now: Instant) -> Self {
        Self {
            until: now + pause,
            pause,
            on_trial: false,
            has_lapsed: false,
        }
    }

    /// Whether a call may try the plugin. The end of a trial that is never told costs one more pause, not the plugin.
    fn admits(&mut self, now: Instant) -> bool {
        let admits = now >= self.until;
        if admits {
            self.on_trial = true;
            self.until = now + self.pause;
        }
        admits
    }

    /// Notes, once, that nobody has tried it for as long again as it lasted.
    fn lapse(&mut self, now: Instant) -> bool {
        let lapses = !self.has_lapsed && now >= self.until + self.pause;
        self.has_lapsed |= lapses;
        lapses
    }
}

impl Entry {
    /// The generation to ask, unless it is in quarantine. When that is over, one call tries it.
    pub(crate) fn generation_for_call(&mut self) -> Option<Arc<Generation>> {
        if let Some(quarantine) = &mut self.quarantine
            && !quarantine.admits(Instant::now())
        {
            return None;
        }
        self.serving.clone()
    }

    pub(crate) fn is_quarantined(&self) -> bool {
        self.standing_quarantine().is_some()
    }

    fn standing_quarantine(&self) -> Option<Quarantine> {
        self.quarantine.filter(|quarantine| !quarantine.has_lapsed)
    }

    /// Ends a quarantine that nobody asks about, which would stand for ever. Where a policy names the plugin, its next call is a
    /// trial all the same.
    pub(crate) fn lapse(&mut self, is_in_use: bool, now: Instant) -> bool {
        if is_in_use {
            return self.quarantine.as_mut().is_some_and(|one| one.lapse(now));
        }
        let was_standing = self.is_quarantined();
        self.quarantine = None;
        self.strikes = 0;
        was_standing
    }

    /// Takes a generation into service; the one before ends with its last call.
    pub(crate) fn swap(&mut self, generation: Arc<Generation>) -> EngineEvent {
        let event = EngineEvent::Swapped {
            plugin: generation.plugin.to_string(),
            generation: generation.number,
            summary: generation.description.summary.clone(),
        };
        self.alive.retain(|old| old.strong_count() > 0);
        self.alive.push(Arc::downgrade(&generation));
        self.serving = Some(generation);
        self.refusal = None;
        self.retry = None;
        self.loaded_at_ms = Some(unix_ms());
        self.reloads += 1;
        // What the one before did is not held against this one.
        self.strikes = 0;
        self.quarantine = None;
        event
    }

    /// Whether a candidate that was looked at before is tried again.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.retry.is_some_and(|retry| now >= retry.at)
    }

    /// Whether the newest candidate was refused.
    pub(crate) fn is_refused(&self) -> bool {
        self.refusal.is_some()
    }

    /// Notes that a candidate was refused. The same again is no event.
    pub(crate) fn refuse(
        &mut self,
        plugin: &str,
        digest: &str,
        misfit: &Misfit,
    ) -> Option<EngineEvent> {
        let before = self.refusal.as_ref();
        let before = before.filter(|before| before.digest == digest);
        let tries = before.map_or(0, |before| before.tries);
        let is_told = before.is_some_and(|before| before.reason == misfit.words);
        self.retry = misfit.is_passing().then(|| {
            let before = self.retry.filter(|_| tries > 0);
            Retry::after(before, Instant::now())
        });
        self.refusal = Some(Refusal {
            digest: digest.to_owned(),
            at_ms: unix_ms(),
            code: misfit.code,
            reason: misfit.words.clone(),
            tries: tries.saturating_add(1),
            next_try_in_ms: None,
        });
        if is_told {
            return None;
        }
        *self.refusals.entry(misfit.code).or_default() += 1;
        Some(EngineEvent::Refused {
            plugin: plugin.to_owned(),
            reason: misfit.words.clone(),
            serving: self.serving.as_ref().map_or(0, |serving| serving.number),
        })
    }

    /// Notes how a call ended. What a generation answers that no longer serves counts, but is held against nobody.
    pub(crate) fn ended(
        &mut self,
        generation: &Arc<Generation>,
        facts: HealthFacts,
        (answer, took): (&Result<HealthVerdict, Failure>, Duration),
    ) -> Option<EngineEvent> {
        self.calls += 1;
        self.call_time += took;
        let micros = took.as_secs_f64() * 1e6;
        keep(&mut self.durations, micros, DURATIONS_MAX);
        let decision = Decision {
            at_ms: unix_ms(),
            generation: generation.number,
            facts,
            answer: answer.clone().map_err(|failure| failure.to_string()),
            micros,
        };
        self.record(decision);
        let is_serving = self
            .serving
            .as_ref()
            .is_some_and(|serving| Arc::ptr_eq(serving, generation));
        match answer {
            Ok(_) if !is_serving => None,
            Ok(_) => {
                self.strikes = 0;
                self.quarantine.take().map(|_| EngineEvent::Released {
                    plugin: generation.plugin.to_string(),
                })
            }
            Err(failure) => {
                *self.failures.entry(failure.kind).or_default() += 1;
                self.last_error = Some(failure.to_string());
                if is_serving {
                    self.strike(generation, failure)
                } else {
                    None
                }
            }
        }
    }

    fn record(&mut self, decision: Decision) {
        self.decisions_bytes += decision.bytes();
        self.decisions.push_back(decision);
        while self.decisions.len() > DECISIONS_MAX || self.decisions_bytes > DECISIONS_BYTES_MAX {
            let Some(oldest) = self.decisions.pop_front() else {
                return;
            };
            self.decisions_bytes -= oldest.bytes();
        }
    }

    fn strike(&mut self, generation: &Generation, failure: &Failure) -> Option<EngineEvent> {
        // A trap costs microseconds. A call that used up its time, or its memory, cost all of it, and the next one would too.
        self.strikes += match failure.kind {
            FailureKind::Timeout | FailureKind::Limit => STRIKES_MAX,
            FailureKind::Trap | FailureKind::Start => 1,
        };
        let pause = match self.quarantine {
            Some(quarantine) if quarantine.on_trial => (quarantine.pause * 2).min(QUARANTINE_MAX),
            None if self.strikes >= STRIKES_MAX => QUARANTINE_FIRST,
            _ => return None,
        };
        self.quarantine = Some(Quarantine::of(pause, Instant::now()));
        Some(EngineEvent::Quarantined {
            plugin: generation.plugin.to_string(),
            reason: failure.to_string(),
            pause,
        })
    }

    /// What operators see.
    pub(crate) fn view(&self, name: &str, is_in_use: bool, with_decisions: bool) -> PluginView {
        let serving = self.serving.as_ref();
        let quarantine = self.standing_quarantine();
        let description = serving.map(|serving| &serving.description);
        let until = |at: Instant| {
            let left = at.saturating_duration_since(Instant::now());
            u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
        };
        let candidate = self.refusal.clone().map(|refusal| Refusal {
            next_try_in_ms: self.retry.map(|retry| until(retry.at)),
            ..refusal
        });
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        let lacking = |asked: &[String], granted: &[String]| {
            let lacking = asked.iter().filter(|one| !granted.contains(one));
            lacking.cloned().collect()
        };
        PluginView {
            name: name.to_owned(),
            world: WORLD_SERVED,
            state: match (serving, quarantine) {
                (None, _) if candidate.is_none() => "loading",
                (None, _) => "refused",
                (Some(_), Some(_)) => "quarantined",
                (Some(_), None) => "serving",
            },
            reason: match (serving, quarantine) {
                (None, _) => Some(candidate.as_ref().map_or_else(
                    || "it was found, or named by a policy, and is being looked at".to_owned(),
                    |refusal| refusal.reason.clone(),
                )),
                (Some(_), Some(_)) => self.last_error.clone(),
                (Some(_), None) => None,
            },
            in_use: is_in_use,
            generation: serving.map_or(0, |serving| serving.number),
            digest: serving.map(|serving| serving.digest.clone()),
            loaded_at_ms: self.loaded_at_ms,
            own_name: description.and_then(|one| text(&one.name)),
            version: description.and_then(|one| text(&one.version)),
            summary: description.and_then(|one| text(&one.summary)),
            attributes: description.map_or_else(BTreeMap::new, |one| pairs(&one.attributes)),
            grants: self.grants.clone(),
            requested: Grants {
                http: lacking(&self.requested.http, &self.grants.http),
                secrets: lacking(&self.requested.secrets, &self.grants.secrets),
            },
            limits: self.limits.clone(),
            calls: self.calls,
            failures: self.failures.values().sum(),
            failures_by_kind: self
                .failures
                .iter()
                .map(|(kind, count)| (kind.as_str(), *count))
                .collect(),
            last_error: self.last_error.clone(),
            call_micros: self.figures(),
            reloads: self.reloads,
            refusals: self.refusals.clone(),
            live_generations: self
                .alive
                .iter()
                .filter(|one| one.strong_count() > 0)
                .count(),
            quarantined_for_ms: quarantine.map(|quarantine| until(quarantine.until)),
            unwritten_values: serving.map_or(0, |serving| serving.unwritten()),
            candidate,
            decisions: if with_decisions {
                self.decisions.iter().rev().cloned().collect()
            } else {
                Vec::new()
            },
            call_time: self.call_time,
        }
    }

    /// What operators see of a plugin that a policy names and that is not there.
    pub(crate) fn missing(name: &str, directory: &Path) -> PluginView {
        PluginView {
            state: "missing",
            reason: Some(format!(
                "a policy names it, and {} holds no {name}.wasm: put it there, or correct the policy's name",
                directory.display()
            )),
            ..Self::default().view(name, true, false)
        }
    }

    /// What operators see of a plugin that a policy names until the directory was looked at for the first time.
    pub(crate) fn loading(name: &str) -> PluginView {
        Self::default().view(name, true, false)
    }

    fn figures(&self) -> CallFigures {
        let mut sorted: Vec<f64> = self.durations.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            // Nearest rank.
            let rank = (sorted.len() as f64 * share).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied()
        };
        CallFigures {
            p50: at(0.5),
            p99: at(0.99),
        }
    }
}

fn keep<T>(ring: &mut VecDeque<T>, one: T, max: usize) {
    if ring.len() == max {
        ring.pop_front();
    }
    ring.push_back(one);
}

fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{
        iter,
        time::{Duration, Instant},
    };

    use router_core::health::{Health, HealthFacts, HealthVerdict};

    use super::{
        DECISIONS_BYTES_MAX, DECISIONS_MAX, Decision, Entry, Quarantine, RETRY_FIRST, RETRY_MAX,
        Retry,
    };
    use crate::contract::{FAILED_AT_LOAD, Misfit};

    #[test]
    fn each_pause_is_followed_by_one_trial_also_when_a_trial_never_ends() {
        let pause = Duration::from_secs(10);
        let begun = Instant::now();
        let mut quarantine = Quarantine::of(pause, begun);
        assert!(!quarantine.admits(begun + pause / 2));
        assert!(!quarantine.on_trial);
        assert!(quarantine.admits(begun + pause));
        assert!(quarantine.on_trial);
        assert!(!quarantine.admits(begun + pause * 3 / 2), "one at a time");
        assert!(quarantine.admits(begun + pause * 2), "the first was lost");
    }

    #[test]
    fn a_quarantine_that_nobody_asks_about_lapses() {
        let pause = Duration::from_secs(10);
        let begun = Instant::now();
        let quarantined = || Entry {
            quarantine: Some(Quarantine::of(pause, begun)),
            ..Entry::default()
        };
        assert!(!quarantined().lapse(true, begun + pause * 3 / 2));
        assert!(quarantined().lapse(false, begun));
        let mut unasked = quarantined();
        assert!(unasked.lapse(true, begun + pause * 2));
        assert!(!unasked.lapse(true, begun + pause * 3), "it is told once");
        assert!(!unasked.is_quarantined());
        // The call that comes after all is a trial: where it fails, the pause goes on growing.
        let quarantine = unasked.quarantine.as_mut().unwrap();
        assert!(quarantine.admits(begun + pause * 3) && quarantine.on_trial);
        let mut asked = quarantined();
        assert!(asked.quarantine.as_mut().unwrap().admits(begun + pause));
        assert!(!asked.lapse(true, begun + pause * 2));
        assert!(asked.is_quarantined());
        assert!(!Entry::default().lapse(false, begun));
    }

    #[test]
    fn what_may_pass_is_tried_again_more_and_more_seldom() {
        let begun = Instant::now();
        let retries = iter::successors(Some(Retry::after(None, begun)), |before| {
            Some(Retry::after(Some(*before), before.at))
        });
        let pauses: Vec<Duration> = retries.take(12).map(|retry| retry.pause).collect();
        assert_eq!(pauses[..3], [RETRY_FIRST, RETRY_FIRST * 2, RETRY_FIRST * 4]);
        assert_eq!(pauses[11], RETRY_MAX);
    }

    #[test]
    fn the_same_refusal_is_told_once_and_another_file_starts_anew() {
        let mut entry = Entry::default();
        let slow = Misfit::new(FAILED_AT_LOAD, "it was too slow");
        assert!(entry.refuse("p", "1", &slow).is_some());
        assert!(entry.refuse("p", "1", &slow).is_none());
        assert_eq!(entry.retry.unwrap().pause, RETRY_FIRST * 2);
        assert_eq!(entry.view("p", true, false).candidate.unwrap().tries, 2);
        assert!(entry.refuse("p", "2", &slow).is_some());
        assert_eq!(entry.retry.unwrap().pause, RETRY_FIRST);
        let broken = Misfit::new("damaged", "it is cut off");
        assert!(entry.refuse("p", "2", &broken).is_some());
        assert!(!entry.is_due(Instant::now() + RETRY_MAX));
        assert_eq!(entry.refusals[FAILED_AT_LOAD], 2);
    }

    #[test]
    fn decisions_take_no_more_than_their_share() {
        let decision = |attributes: usize| Decision {
            at_ms: 0,
            generation: 1,
            facts: HealthFacts::default(),
            answer: Ok(HealthVerdict {
                health: Health::Degraded,
                reason: "slow".to_owned(),
                recycle: false,
                attributes: vec![("n".repeat(256), "v".repeat(256)); attributes],
            }),
            micros: 1.0,
        };
        let mut entry = Entry::default();
        for _ in 0..2 * DECISIONS_MAX {
            entry.record(decision(64));
            assert!(entry.decisions_bytes <= DECISIONS_BYTES_MAX);
        }
        assert!(entry.decisions.len() < DECISIONS_MAX);
        for _ in 0..2 * DECISIONS_MAX {
            entry.record(decision(0));
        }
        assert_eq!(entry.decisions.len(), DECISIONS_MAX);
        let bytes: usize = entry.decisions.iter().map(Decision::bytes).sum();
        assert_eq!(entry.decisions_bytes, bytes);
        let shown = serde_json::to_value(decision(1)).unwrap();
        assert_eq!(shown["health"], "degraded");
        assert_eq!(shown["attributes"]["n".repeat(256)], "v".repeat(256));
    }
}
