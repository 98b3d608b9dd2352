//! Every plugin's state: which generation serves, how its calls went, its strikes, and what was refused.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use router_core::health::{HealthFacts, HealthVerdict};

use crate::{
    Grants, Limits,
    contract::{Misfit, WORLD_SERVED},
    directory::Stamps,
    generation::{Failure, FailureKind, Generation},
    view::{CallFigures, Decision, PluginView, Refusal},
};

/// Failures in a row that put a plugin into quarantine; one is enough that ran into a bound.
const STRIKES_MAX: u32 = 3;

/// The first quarantine, and the longest; each further one doubles, and a success starts them over.
const QUARANTINE_FIRST: Duration = Duration::from_secs(10);
const QUARANTINE_MAX: Duration = Duration::from_secs(300);

/// Decisions that are kept per plugin, and durations that figures are made of.
const DECISIONS_MAX: usize = 256;
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
    /// Its file is gone.
    Removed {
        /// Which plugin.
        plugin: String,
    },
}

/// One plugin.
pub(crate) struct Entry {
    pub(crate) serving: Option<Arc<Generation>>,
    pub(crate) stamps: Stamps,
    /// The digest that was looked at last, served or refused.
    pub(crate) looked_at: String,
    pub(crate) refusal: Option<Refusal>,
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
    durations: VecDeque<f64>,
}

#[derive(Clone, Copy)]
struct Quarantine {
    until: Instant,
    pause: Duration,
    /// Its time is over and one call tries it.
    on_trial: bool,
}

impl Quarantine {
    fn of(pause: Duration, now: Instant) -> Self {
        Self {
            until: now + pause,
            pause,
            on_trial: false,
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
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            serving: None,
            stamps: Stamps::default(),
            looked_at: String::new(),
            refusal: None,
            grants: Grants::default(),
            requested: Grants::default(),
            limits: Limits::default(),
            missing_since: None,
            loaded_at_ms: None,
            alive: Vec::new(),
            calls: 0,
            call_time: Duration::ZERO,
            failures: BTreeMap::new(),
            last_error: None,
            strikes: 0,
            quarantine: None,
            reloads: 0,
            refusals: BTreeMap::new(),
            decisions: VecDeque::new(),
            durations: VecDeque::new(),
        }
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
        self.quarantine.is_some()
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
        self.loaded_at_ms = Some(unix_ms());
        self.reloads += 1;
        // What the one before did is not held against this one.
        self.strikes = 0;
        self.quarantine = None;
        event
    }

    /// Whether the newest candidate could not be read, for this reason.
    pub(crate) fn is_refused_unread(&self, misfit: &Misfit) -> bool {
        let newest = self.refusal.as_ref();
        newest.is_some_and(|newest| newest.digest.is_empty() && newest.reason == misfit.words)
    }

    /// Notes that a candidate was refused.
    pub(crate) fn refuse(&mut self, plugin: &str, digest: &str, misfit: &Misfit) -> EngineEvent {
        *self.refusals.entry(misfit.code).or_default() += 1;
        self.refusal = Some(Refusal {
            digest: digest.to_owned(),
            at_ms: unix_ms(),
            code: misfit.code,
            reason: misfit.words.clone(),
        });
        EngineEvent::Refused {
            plugin: plugin.to_owned(),
            reason: misfit.words.clone(),
            serving: self.serving.as_ref().map_or(0, |serving| serving.number),
        }
    }

    /// Notes how a call ended. What a generation answers that no longer serves counts, but is held against nobody.
    pub(crate) fn ended(
        &mut self,
        generation: &Generation,
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
            answer: match answer {
                Ok(verdict) => Ok((
                    verdict.health.as_str(),
                    verdict.reason.clone(),
                    verdict.recycle,
                )),
                Err(failure) => Err(failure.to_string()),
            },
            micros,
        };
        keep(&mut self.decisions, decision, DECISIONS_MAX);
        let is_serving = self
            .serving
            .as_ref()
            .is_some_and(|serving| serving.number == generation.number);
        match answer {
            Ok(_) if !is_serving => None,
            Ok(_) => {
                self.strikes = 0;
                let plugin = generation.plugin.to_string();
                self.quarantine
                    .take()
                    .map(|_| EngineEvent::Released { plugin })
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
    pub(crate) fn view(&self, name: &str, with_decisions: bool) -> PluginView {
        let serving = self.serving.as_ref();
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        let lacking = |asked: &[String], granted: &[String]| {
            let lacking = asked.iter().filter(|one| !granted.contains(one));
            lacking.cloned().collect()
        };
        PluginView {
            name: name.to_owned(),
            world: WORLD_SERVED,
            state: match (serving, self.quarantine) {
                (None, _) => "refused",
                (Some(_), Some(_)) => "quarantined",
                (Some(_), None) => "serving",
            },
            generation: serving.map_or(0, |serving| serving.number),
            digest: serving.map(|serving| serving.digest.clone()),
            loaded_at_ms: self.loaded_at_ms,
            version: serving.and_then(|serving| text(&serving.description.version)),
            summary: serving.and_then(|serving| text(&serving.description.summary)),
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
            quarantined_for_ms: self.quarantine.map(|quarantine| {
                let left = quarantine.until.saturating_duration_since(Instant::now());
                u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
            }),
            candidate: self.refusal.clone(),
            decisions: if with_decisions {
                self.decisions.iter().rev().cloned().collect()
            } else {
                Vec::new()
            },
            call_time: self.call_time,
        }
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
    use std::time::{Duration, Instant};

    use super::Quarantine;

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
}
