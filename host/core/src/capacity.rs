//! How much of the machine the fleet uses, and has used: what a capacity policy is shown; and what it plans by that.
//!
//! What a policy answers is checked here before anything applies it. The WIT interface `router:capacity/capacity` mirrors these
//! types, and the built-in default answers from the same load.

mod builtin;
mod load;
mod plan;

pub use builtin::builtin;
pub use load::{CapacityLoad, LoadMeasure, TemplateLoad};
pub use plan::{CapacityPlan, FORECASTS_MAX, Forecast, LIMITS_MAX, Limit, Measure};

/// What is in use at one moment, or of a time the mean or the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Instances that run: those with a process, from its start to its end.
    pub running: u32,
    /// Requests that wait for an answer.
    pub in_flight: u32,
    /// Resident memory of the instances' processes, in bytes.
    pub memory_bytes: u64,
}

impl Usage {
    /// The greater of the two in each respect: the peaks of a time need not have been at one moment.
    #[must_use]
    pub fn peak(self, other: Self) -> Self {
        Self {
            running: self.running.max(other.running),
            in_flight: self.in_flight.max(other.in_flight),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
        }
    }
}

/// One minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadMinute {
    /// When it began, in milliseconds since 1970.
    pub at_ms: u64,
    /// The most that was in use within it.
    pub peak: Usage,
}

/// One day, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadDay {
    /// When it began, in milliseconds since 1970.
    pub at_ms: u64,
    /// The mean of what was in use while the router ran, to the nearest whole.
    pub mean: Usage,
    /// The most that was in use within it.
    pub peak: Usage,
}

/// What was before. Times at which the router did not run are left out; the last minute and the last day may not be over yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadHistory {
    /// The minutes of the last 24 hours, the oldest first, at most 1,440.
    pub minutes: Vec<LoadMinute>,
    /// The last days, the oldest first, at most 400.
    pub days: Vec<LoadDay>,
}

/// More memory than any machine has, in bytes: the sum over a day of samples stays below 2^63, which is as far as databases count.
const MEMORY_BYTES_MAX: u64 = 1 << 46;

/// Samples of usage added together, from which their exact mean and peak follow, also over several of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsageTally {
    /// How many samples.
    pub samples: u64,
    /// The sum of [`Usage::running`].
    pub running_sum: u64,
    /// The sum of [`Usage::in_flight`].
    pub in_flight_sum: u64,
    /// The sum of [`Usage::memory_bytes`].
    pub memory_bytes_sum: u64,
    /// The most of each.
    pub peak: Usage,
}

impl UsageTally {
    /// One sample. Memory past 64 TiB counts as that.
    #[must_use]
    pub fn of(usage: Usage) -> Self {
        let memory_bytes = usage.memory_bytes.min(MEMORY_BYTES_MAX);
        Self {
            samples: 1,
            running_sum: usage.running.into(),
            in_flight_sum: usage.in_flight.into(),
            memory_bytes_sum: memory_bytes,
            peak: Usage {
                memory_bytes,
                ..usage
            },
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            samples: self.samples.saturating_add(other.samples),
            running_sum: self.running_sum.saturating_add(other.running_sum),
            in_flight_sum: self.in_flight_sum.saturating_add(other.in_flight_sum),
            memory_bytes_sum: self.memory_bytes_sum.saturating_add(other.memory_bytes_sum),
            peak: self.peak.peak(other.peak),
        }
    }

    /// The mean of the samples, to the nearest whole; nothing where there is none.
    #[must_use]
    pub fn mean(&self) -> Usage {
        let mean = |sum: u64| {
            let half = self.samples / 2;
            sum.saturating_add(half)
                .checked_div(self.samples)
                .unwrap_or(0)
        };
        let count = |sum: u64| u32::try_from(mean(sum)).unwrap_or(u32::MAX);
        Usage {
            running: count(self.running_sum),
            in_flight: count(self.in_flight_sum),
            memory_bytes: mean(self.memory_bytes_sum),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MEMORY_BYTES_MAX, Usage, UsageTally};

    fn usage(running: u32, in_flight: u32, memory_bytes: u64) -> Usage {
        Usage {
            running,
            in_flight,
            memory_bytes,
        }
    }

    fn tally(samples: &[Usage]) -> UsageTally {
        let samples = samples.iter().copied().map(UsageTally::of);
        samples.fold(UsageTally::default(), UsageTally::plus)
    }

    #[test]
    fn a_mean_is_that_of_the_samples_however_they_were_added_together() {
        let samples = [
            usage(1, 0, 100),
            usage(2, 90, 50),
            usage(2, 0, 0),
            usage(0, 1, 1),
            usage(2, 0, 4),
        ];
        let all = tally(&samples);
        assert_eq!(all.mean(), usage(1, 18, 31));
        assert_eq!(all.peak, usage(2, 90, 100));
        for at in 0..=samples.len() {
            let (before, after) = samples.split_at(at);
            assert_eq!(tally(before).plus(tally(after)), all);
        }
    }

    #[test]
    fn a_mean_is_rounded_to_the_nearest_and_that_of_nothing_is_nothing() {
        assert_eq!(
            tally(&[usage(1, 1, 1), usage(0, 0, 0)]).mean(),
            usage(1, 1, 1)
        );
        let third = [usage(1, 1, 1), usage(0, 0, 0), usage(0, 0, 0)];
        assert_eq!(tally(&third).mean(), usage(0, 0, 0));
        assert_eq!(UsageTally::default().mean(), Usage::default());
    }

    #[test]
    fn a_day_of_senseless_samples_is_still_a_number_for_a_database() {
        let absurd = UsageTally::of(usage(u32::MAX, u32::MAX, u64::MAX));
        assert_eq!(absurd.peak.memory_bytes, MEMORY_BYTES_MAX);
        // One each second.
        let day = absurd.memory_bytes_sum.checked_mul(86_400).unwrap();
        assert!(i64::try_from(day).is_ok());
    }
}
