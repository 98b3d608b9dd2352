//! Wake times: nothing is due before them, and none of them stays in the past.

use crate::{
    event::Event,
    permit::BreakerState,
    simulation::{property::Property, world::World},
    view::Lifecycle,
};

/// Ticks in a row without time passing after which a wake time is taken to be stuck. Steps on the way down that are configured
/// to take no time at all need a few.
const STUCK_TICKS: u32 = 8;

impl World {
    /// Time is about to pass until `next_ms` without a word to the core: nothing that the model knows of may be due before.
    pub(in crate::simulation) fn no_deadline_before(&mut self, next_ms: u64) {
        self.check_asked_before(next_ms);
        let now_ms = self.now_ms;
        let mut overslept = None;
        let mut due = |at_ms: u64, what: String| {
            if at_ms < next_ms {
                overslept = Some(format!(
                    "{what} is due at {at_ms}, the next wake comes at {next_ms}"
                ));
            }
        };
        for ((key, run), way) in &self.watched.ways_down {
            if let Some(at_ms) = way.due_ms() {
                due(
                    at_ms,
                    format!("the next step on the way down of {key} run {run}"),
                );
            }
        }
        for (id, held) in &self.watched.instances {
            let view = self.before.instance(id).map(|view| &view.breaker);
            if let Some(view) = view.filter(|view| view.state == BreakerState::Open)
                && let (Some(until_ms), Some(_)) = (held.breaker.until_ms(), view.retry_after_ms)
            {
                due(until_ms, format!("the end of OPEN of {id}"));
            }
        }
        for slot in self.before.instances.iter().flat_map(|view| &view.slots) {
            let watch = self.watched.slots.get(&slot.key);
            let held_up = matches!(slot.lifecycle, Lifecycle::Backoff | Lifecycle::CrashLoop);
            if let Some(at_ms) = watch.and_then(|watch| watch.retry_at_ms)
                && held_up
                && self.may_start(&slot.key)
            {
                due(at_ms, format!("the next start of {}", slot.key));
            }
            if let Some(at_ms) = self.idles_at_ms(&slot.key)
                && slot.lifecycle == Lifecycle::Ready
            {
                due(at_ms, format!("the idle stop of {}", slot.key));
            }
            let launched = slot
                .run
                .and_then(|run| self.watched.launched.get(&(slot.key.clone(), run)));
            if let Some((_, Some(at_ms))) = launched
                && slot.lifecycle == Lifecycle::Starting
            {
                due(*at_ms, format!("the end of the start of {}", slot.key));
            }
        }
        if let Some(overslept) = overslept {
            self.now_ms = now_ms.max(next_ms);
            self.fail(Property::WakeHonest, overslept);
        }
    }

    /// Now and then the core is woken early, and must have nothing to do.
    pub(in crate::simulation) fn early_tick(&mut self, next_ms: u64) -> bool {
        if next_ms <= self.now_ms + 1 || !self.dice.chance(3) {
            return false;
        }
        self.now_ms = self.dice.between(self.now_ms + 1, next_ms - 1);
        self.saw("early tick");
        self.watched.quiet = true;
        self.feed(Event::Tick);
        self.watched.quiet = false;
        true
    }

    /// A tick has been fed: what was due is done.
    pub(in crate::simulation) fn no_wake_in_the_past(&mut self) {
        let is_past = self
            .fleet
            .next_wake()
            .is_some_and(|at_ms| at_ms <= self.now_ms);
        self.watched.stuck_ticks = if is_past {
            self.watched.stuck_ticks + 1
        } else {
            0
        };
        if self.watched.stuck_ticks > STUCK_TICKS {
            self.fail(
                Property::WakeHonest,
                format!(
                    "the wake time {:?} stays in the past",
                    self.fleet.next_wake()
                ),
            );
        }
    }
}
