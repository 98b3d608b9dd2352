//! Every plugin's state: which generation serves, how its calls went, and what was refused.

mod candidate;
mod history;
mod listing;
mod quarantine;

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::Semaphore;

use crate::{
    Grants, Limits,
    directory::Stamps,
    event::EngineEvent,
    failure::CallFailure,
    generation::Generation,
    kinds::{Contract, Record},
    rejection::{REJECTED, Rejection},
    view::{Refusal, Unanswered},
};
pub(crate) use candidate::Candidate;
use history::History;
use quarantine::Quarantine;

/// A candidate whose refusal may pass is tried again after this, which doubles up to the longest: what it lacks may be there in
/// a moment, and what never will be there must not cost a compilation every two seconds.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(300);

/// One plugin.
#[derive(Default)]
pub(crate) struct Entry {
    pub(crate) serving: Option<Arc<Generation>>,
    /// The one that is tried, or held.
    pub(crate) candidate: Option<Candidate>,
    /// How many generations were loaded so far.
    pub(crate) numbered: u64,
    /// Bounds the calls in progress, by the budget of its kind; `None`: nothing has served yet.
    pub(crate) calls: Option<Arc<Semaphore>>,
    pub(crate) stamps: Stamps,
    /// The digest that was tried last, served or refused.
    pub(crate) tried: String,
    refusal: Option<Refusal>,
    retry: Option<Retry>,
    pub(crate) grants: Grants,
    pub(crate) requested: Grants,
    pub(crate) limits: Limits,
    /// Since when its file is missing.
    pub(crate) missing_since: Option<Instant>,
    loaded_at_ms: Option<u64>,
    alive: Vec<Weak<Generation>>,
    history: History,
    quarantine: Quarantine,
    /// Questions in a row that it did not answer.
    unanswered: Option<Unanswered>,
    reloads: u64,
    refusals: BTreeMap<&'static str, u64>,
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

impl Entry {
    /// The generation to ask for a kind's answer, unless it is in quarantine. When that is over, one call tries it.
    pub(crate) fn generation_for_call(
        &mut self,
        contract: &'static Contract,
    ) -> Option<Arc<Generation>> {
        let serving = self.serving.as_ref();
        let asked = serving.filter(|serving| serving.contract().world == contract.world);
        let asked = asked.filter(|_| self.quarantine.admits(Instant::now()));
        let asked = asked.map(Arc::clone);
        if asked.is_none() {
            self.count_unanswered();
        }
        asked
    }

    /// Notes that the built-in default answers a question in its place.
    pub(crate) fn count_unanswered(&mut self) {
        let first = Unanswered {
            since_ms: unix_ms(),
            questions: 0,
        };
        let unanswered = self.unanswered.get_or_insert(first);
        unanswered.questions = unanswered.questions.saturating_add(1);
    }

    pub(crate) fn is_quarantined(&self) -> bool {
        self.quarantine.is_active()
    }

    /// Ends a quarantine that no call will end; whether one ended.
    pub(crate) fn lapse(&mut self, is_in_use: bool, now: Instant) -> bool {
        self.quarantine.lapse(is_in_use, now)
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
        let Contract { world, budget, .. } = generation.contract();
        let before = self.serving.as_ref().map(|before| before.contract().world);
        if before != Some(world) {
            let calls_max = budget.calls_max as usize;
            self.calls = Some(Arc::new(Semaphore::new(calls_max)));
        }
        self.serving = Some(generation);
        self.refusal = None;
        self.retry = None;
        self.loaded_at_ms = Some(unix_ms());
        self.reloads += 1;
        // What the one before did is not held against this one.
        self.quarantine = Quarantine::default();
        self.history.begin_generation();
        event
    }

    /// Takes a generation back into service that was before. What is held, or was refused, stays so.
    pub(crate) fn restore(&mut self, generation: Arc<Generation>) -> EngineEvent {
        let (refusal, retry) = (self.refusal.take(), self.retry.take());
        let event = self.swap(generation);
        (self.refusal, self.retry) = (refusal, retry);
        event
    }

    /// An operator rejected a generation: it is neither a candidate any more, nor in force.
    pub(crate) fn reject(&mut self, plugin: &str, number: u64, digest: &str) {
        self.candidate
            .take_if(|candidate| candidate.generation.number == number);
        self.serving.take_if(|serving| serving.number == number);
        digest.clone_into(&mut self.tried);
        self.refuse(plugin, digest, &Rejection::by_operator());
    }

    /// The digest of what is refused because an operator rejected it.
    pub(crate) fn rejected_digest(&self) -> Option<String> {
        let refusal = self.refusal.as_ref()?;
        (refusal.code == REJECTED).then(|| refusal.digest.clone())
    }

    /// The file of the generation in force is there again: nothing is to be decided, and nothing was refused.
    pub(crate) fn return_to_serving(&mut self) {
        (self.candidate, self.refusal, self.retry) = (None, None, None);
    }

    /// Whether a candidate that was tried before is tried again.
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
        rejection: &Rejection,
    ) -> Option<EngineEvent> {
        let before = self.refusal.as_ref();
        let before = before.filter(|before| before.digest == digest);
        let tries = before.map_or(0, |before| before.tries);
        let is_known = before.is_some_and(|before| before.reason == rejection.reason);
        self.retry = rejection.is_passing().then(|| {
            let before = self.retry.filter(|_| tries > 0);
            Retry::after(before, Instant::now())
        });
        self.refusal = Some(Refusal {
            digest: digest.to_owned(),
            at_ms: unix_ms(),
            code: rejection.code,
            reason: rejection.reason.clone(),
            tries: tries.saturating_add(1),
            next_try_in_ms: None,
        });
        if is_known {
            return None;
        }
        *self.refusals.entry(rejection.code).or_default() += 1;
        Some(EngineEvent::Refused {
            plugin: plugin.to_owned(),
            reason: rejection.reason.clone(),
            serving: self.serving.as_ref().map_or(0, |serving| serving.number),
        })
    }

    /// Notes how a call ended. The answer of a generation that no longer serves counts, but is held against nobody.
    pub(crate) fn ended(
        &mut self,
        generation: &Arc<Generation>,
        record: Arc<dyn Record>,
        (failure, took): (Option<&CallFailure>, Duration),
    ) -> Option<EngineEvent> {
        let serving = self.serving.as_ref();
        let is_serving = serving.is_some_and(|serving| Arc::ptr_eq(serving, generation));
        let of = (generation.number, is_serving);
        self.history.add(of, record, failure, took);
        if !is_serving {
            return None;
        }
        let plugin = || generation.plugin.to_string();
        match failure {
            None => {
                self.unanswered = None;
                let was_quarantined = self.quarantine.succeeded();
                was_quarantined.then(|| EngineEvent::Released { plugin: plugin() })
            }
            Some(failure) => {
                self.count_unanswered();
                let pause = self.quarantine.strike(failure.kind, Instant::now())?;
                Some(EngineEvent::Quarantined {
                    plugin: plugin(),
                    reason: failure.to_string(),
                    pause,
                })
            }
        }
    }
}

pub(crate) fn unix_ms() -> u64 {
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

    use super::{Entry, RETRY_FIRST, RETRY_MAX, Retry};
    use crate::rejection::{FAILED_AT_LOAD, Rejection};

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
    fn the_same_refusal_is_reported_once_and_another_file_starts_anew() {
        let mut entry = Entry::default();
        let slow = Rejection::new(FAILED_AT_LOAD, "it was too slow");
        assert!(entry.refuse("p", "1", &slow).is_some());
        assert!(entry.refuse("p", "1", &slow).is_none());
        assert_eq!(entry.retry.unwrap().pause, RETRY_FIRST * 2);
        assert_eq!(entry.view("p", true, false).candidate.unwrap().tries, 2);
        assert!(entry.refuse("p", "2", &slow).is_some());
        assert_eq!(entry.retry.unwrap().pause, RETRY_FIRST);
        let broken = Rejection::new("damaged", "it is cut off");
        assert!(entry.refuse("p", "2", &broken).is_some());
        assert!(!entry.is_due(Instant::now() + RETRY_MAX));
        assert_eq!(entry.refusals[FAILED_AT_LOAD], 2);
    }
}
