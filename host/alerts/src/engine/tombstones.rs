//! The numbers of firings of alerts that are forgotten, so that no number comes twice: receivers drop what they know already.

use std::collections::BTreeMap;

use crate::{identity::AlertId, record::Tombstone, settings::TOMBSTONES_MAX};

/// See the module. What there is no room for raises the number from which all others begin, so that a number is skipped rather than
/// used twice.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Tombstones {
    /// Number of the last firing, and the place in `order`.
    firings: BTreeMap<AlertId, (u32, u64)>,
    /// The one that was forgotten first is the first.
    order: BTreeMap<u64, AlertId>,
    next_place: u64,
    floor: u32,
}

impl Tombstones {
    /// Whether others were dropped for it, which raises the floor.
    pub(super) fn put(&mut self, tombstone: Tombstone) -> bool {
        let Tombstone { alert, firing } = tombstone;
        self.next_place += 1;
        let known = self.firings.insert(alert, (firing, self.next_place));
        if let Some((_, place)) = known {
            self.order.remove(&place);
        }
        self.order.insert(self.next_place, alert);
        let mut is_raised = false;
        while self.order.len() > TOMBSTONES_MAX
            && let Some((_, oldest)) = self.order.pop_first()
            && let Some((firing, _)) = self.firings.remove(&oldest)
        {
            self.floor = self.floor.max(firing);
            is_raised = true;
        }
        is_raised
    }

    /// The number of the last firing of an alert that comes back, or may.
    pub(super) fn take(&mut self, alert: AlertId) -> u32 {
        let Some((firing, place)) = self.firings.remove(&alert) else {
            return self.floor;
        };
        self.order.remove(&place);
        firing.max(self.floor)
    }

    /// The number from which all go on of which nothing is kept.
    pub(super) fn floor(&self) -> u32 {
        self.floor
    }

    pub(super) fn raise_floor(&mut self, firing: u32) {
        self.floor = self.floor.max(firing);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Tombstone> {
        self.order.values().map(|&alert| Tombstone {
            alert,
            firing: self.firings.get(&alert).map_or(0, |(firing, _)| *firing),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_comes_twice_however_much_is_forgotten() {
        let mut tombstones = Tombstones::default();
        let id = |n: usize| AlertId::of(&n.to_string());
        let put = |tombstones: &mut Tombstones, n: usize, firing| {
            let alert = id(n);
            tombstones.put(Tombstone { alert, firing });
        };
        put(&mut tombstones, 0, 7);
        for n in 1..=TOMBSTONES_MAX {
            put(&mut tombstones, n, 1);
        }
        assert_eq!(
            tombstones.take(id(0)),
            7,
            "the first had to go, and raised the floor"
        );
        assert_eq!(tombstones.take(id(usize::MAX)), 7);
        assert!(tombstones.order.len() <= TOMBSTONES_MAX);
    }

    #[test]
    fn one_that_comes_and_goes_takes_one_place() {
        let mut tombstones = Tombstones::default();
        let alert = AlertId::of("x");
        for firing in 1..100_000 {
            assert_eq!(tombstones.take(alert), firing - 1);
            tombstones.put(Tombstone { alert, firing });
        }
        assert_eq!(tombstones.iter().count(), 1);
        assert_eq!(tombstones.firings.len(), 1);
    }
}
