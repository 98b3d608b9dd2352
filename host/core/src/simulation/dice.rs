//! Chance, from a seed.

use crate::jitter::Jitter;

pub(super) struct Dice(Jitter);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(Jitter::new(seed ^ 0x5151_dead_beef_0001))
    }

    /// From `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.next() % (high - low + 1)
    }

    /// True in `percent` of cases.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.0.next() % 100 < percent
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() {
            None
        } else {
            from.get(self.0.next() as usize % from.len())
        }
    }

    /// A delay as they are: mostly short, now and then long, seldom very long.
    pub(super) fn delay_ms(&mut self) -> u64 {
        match self.between(0, 99) {
            0..70 => self.between(0, 50),
            70..95 => self.between(50, 1_000),
            _ => self.between(1_000, 12_000),
        }
    }
}
