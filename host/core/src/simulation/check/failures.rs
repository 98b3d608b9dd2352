//! Failures counted anew, by the rules as they are written down: how long to pause, and when to stop trying.

use super::SlotWatch;
use crate::{
    Run, SlotKey,
    action::CrashRecord,
    event::Exit,
    settings::Settings,
    simulation::{property::Property, world::World},
    view::{Lifecycle, SlotView},
};

/// What a failure must lead to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expected {
    /// A pause between these.
    Backoff { from_ms: u64, to_ms: u64 },
    /// Crash loop, with this pause before the slow retry.
    CrashLoop {
        retry_ms: Option<u64>,
        permanent: bool,
    },
}

/// One slot's failures.
#[derive(Debug, Default)]
pub(super) struct SlotFailures {
    at_ms: Vec<u64>,
    in_a_row: u32,
    /// How often in a row it failed in the same way without having been ready.
    same: Option<(String, u32)>,
    looping: bool,
}

impl SlotFailures {
    /// It has failed, and nothing has made up for it since.
    pub(super) fn has_failed(&self) -> bool {
        self.in_a_row > 0
    }

    fn add(
        &mut self,
        now_ms: u64,
        signature: String,
        was_ready: bool,
        permanent: bool,
        settings: &Settings,
    ) -> Expected {
        let rule = &settings.crash_loop;
        self.at_ms.push(now_ms);
        self.in_a_row += 1;
        self.same = match self.same.take() {
            _ if was_ready => None,
            Some((last, times)) if last == signature => Some((last, times + 1)),
            _ => Some((signature, 1)),
        };
        let recent = self
            .at_ms
            .iter()
            .filter(|at_ms| now_ms - **at_ms < rule.window_ms);
        let too_many = recent.count() as u32 >= rule.failures;
        let too_same = self
            .same
            .as_ref()
            .is_some_and(|(_, times)| *times >= rule.same_signature);
        if permanent || self.looping || too_many || too_same {
            self.looping = true;
            let retry_ms = rule.slow_retry_ms.filter(|_| !permanent);
            return Expected::CrashLoop {
                retry_ms,
                permanent,
            };
        }
        let restart = &settings.restart;
        let nominal_ms = restart.first_ms << (self.in_a_row - 1).min(20);
        let nominal_ms = nominal_ms.min(restart.max_ms) as f64;
        Expected::Backoff {
            from_ms: (nominal_ms * (1.0 - restart.jitter)).floor() as u64,
            to_ms: (nominal_ms * (1.0 + restart.jitter)).ceil() as u64,
        }
    }
}

/// The way a run failed, numbers in its last line aside.
fn signature(record: &CrashRecord) -> String {
    let line = record.evidence.stderr_tail.last();
    let spawn = record.reason.strip_prefix("Spawn failed: ");
    let mut text = format!("{:?} ", record.exit);
    let text_of = line.into_iter().flat_map(|line| line.chars());
    let text_of = text_of.chain(spawn.unwrap_or_default().chars());
    text.extend(text_of.filter(|c| !c.is_ascii_digit()));
    text
}

impl SlotWatch {
    /// A run serves no more: if it did so for long enough, what failed before it is forgotten.
    pub(super) fn note_service(&mut self, run: Option<Run>, now_ms: u64, forget_ms: u64) {
        if let Some((ready, since_ms)) = self.ready
            && Some(ready) == run
            && now_ms as i64 - since_ms >= forget_ms as i64
        {
            self.tally = SlotFailures::default();
        }
    }
}

impl World {
    /// A run ends.
    pub(super) fn expect_end(&mut self, key: &SlotKey, run: Run, exited: bool) {
        let at = (key.clone(), run);
        self.watched.strays.remove(&at);
        self.watched.killed.remove(&at);
        self.watched.ways_down.remove(&at);
        self.watched.kept.remove(&at);
        self.watched.keepers.remove(&at);
        if !self.watched.ended.insert(at) {
            return;
        }
        let before = self.slot_before(key).filter(|slot| slot.run == Some(run));
        if before.is_some()
            && !self.watched.shutting_down
            && let Some(held) = self.watched.instances.get_mut(&key.instance)
        {
            // Nobody knows how to start it again.
            held.removed |= std::mem::take(&mut held.unclaimed);
        }
        let before = self.slot_before(key).filter(|slot| slot.run == Some(run));
        let lifecycle = before.map(|slot| slot.lifecycle);
        let forget_ms = self.settings.restart.forget_after_ms;
        let now_ms = self.now_ms;
        let released = self
            .procs
            .get(&(key.clone(), run))
            .is_some_and(|proc| proc.released);
        let Some(slot) = self.watched.slots.get_mut(key) else {
            return;
        };
        slot.note_service(Some(run), now_ms, forget_ms);
        let dies = matches!(lifecycle, Some(Lifecycle::Starting | Lifecycle::Ready));
        self.watched.must_record = (dies && !released && exited).then(|| (key.clone(), run));
    }

    pub(super) fn check_crash(&mut self, record: &CrashRecord) {
        let (key, run) = (&record.key, record.run);
        let at = (key.clone(), run);
        if self.watched.must_record.as_ref() == Some(&at) {
            self.watched.must_record = None;
        }
        if !self.watched.recorded.insert(at) {
            self.fail(
                Property::CrashRecorded,
                format!("{key} run {run} left evidence twice"),
            );
        }
        let Some(held) = self.watched.instances.get(&key.instance) else {
            return;
        };
        let permanent = match record.exit {
            Some(Exit::Code(code)) => held.spec.permanent_exit_codes.contains(&code),
            _ => false,
        };
        let permitted = held.permits_running() && !self.watched.shutting_down;
        let Some(slot) = self.watched.slots.get_mut(key) else {
            return;
        };
        if !slot.wanted || !permitted || slot.forgiven == Some(run) {
            return;
        }
        let was_ready = slot.ready.is_some_and(|(ready, _)| ready == run);
        let signature = signature(record);
        let expected = slot
            .tally
            .add(self.now_ms, signature, was_ready, permanent, &self.settings);
        slot.expected = Some(expected);
    }

    pub(super) fn check_failures(&mut self, view: &SlotView) {
        if let Some((key, run)) = self.watched.must_record.take() {
            self.fail(
                Property::CrashRecorded,
                format!("{key} run {run} died and left no evidence"),
            );
        }
        let before = self.slot_before(&view.key).map(|slot| slot.lifecycle);
        let now_ms = self.now_ms;
        let Some(slot) = self.watched.slots.get_mut(&view.key) else {
            return;
        };
        let held_up = matches!(view.lifecycle, Lifecycle::Backoff | Lifecycle::CrashLoop);
        if slot.restarting && held_up && slot.expected.is_none() {
            return self.fail(
                Property::RestartBypasses,
                format!(
                    "{} was restarted by hand and is in {:?}",
                    view.key, view.lifecycle
                ),
            );
        }
        match slot.expected.take() {
            Some(expected) => self.check_decision(view, &expected),
            None if held_up && before != Some(view.lifecycle) => self.fail(
                Property::CrashRecorded,
                format!("{} is in {:?} without a failure", view.key, view.lifecycle),
            ),
            None if held_up => {
                let is_at_ms = view.retry_after_ms.map(|ms| now_ms + ms);
                let was_at_ms = slot.retry_at_ms.map(|at_ms| at_ms.max(now_ms));
                let property = match view.lifecycle {
                    Lifecycle::Backoff => Property::BackoffBounds,
                    _ => Property::CrashLoopRule,
                };
                if is_at_ms != was_at_ms {
                    let how = format!("{} is retried at {is_at_ms:?}, not {was_at_ms:?}", view.key);
                    self.fail(property, how);
                }
            }
            None => {}
        }
    }

    /// The failure in this step led to what it had to lead to.
    fn check_decision(&mut self, view: &SlotView, expected: &Expected) {
        let (key, retry_ms) = (&view.key, view.retry_after_ms);
        let Some(slot) = self.watched.slots.get_mut(key) else {
            return;
        };
        slot.retry_at_ms = retry_ms.map(|ms| self.now_ms + ms);
        match (expected, view.lifecycle) {
            (Expected::Backoff { from_ms, to_ms }, Lifecycle::Backoff) => {
                self.saw("backoff");
                if !retry_ms.is_some_and(|ms| (*from_ms..=*to_ms).contains(&ms)) {
                    let how = format!("{key} pauses {retry_ms:?} ms, not {from_ms} to {to_ms}");
                    self.fail(Property::BackoffBounds, how);
                }
            }
            (
                Expected::CrashLoop {
                    retry_ms: wanted_ms,
                    permanent,
                },
                Lifecycle::CrashLoop,
            ) => {
                slot.permanent = *permanent;
                self.saw("crash loop");
                if retry_ms != *wanted_ms {
                    let how = format!("{key} is retried in {retry_ms:?}, not {wanted_ms:?}");
                    self.fail(Property::CrashLoopRule, how);
                }
            }
            (expected, lifecycle) => {
                let tally = &slot.tally;
                let how = format!("{key} is in {lifecycle:?}; {expected:?} was due: {tally:?}");
                self.fail(Property::CrashLoopRule, how);
            }
        }
    }
}
