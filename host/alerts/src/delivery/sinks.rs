//! What the schedule must know of each sink, and that their fallbacks lead somewhere.

use std::{collections::BTreeMap, sync::Arc};

/// One sink, as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkSchedule {
    /// Its name: that of `[sink.NAME]`.
    pub sink: Arc<str>,
    /// The least time from the beginning of one attempt to that of the next, in milliseconds: Slack takes 1 per second, PagerDuty
    /// 120 per minute. Attempts are spread, without bursts, so that no window of the receiver's sees more than its limit.
    pub interval_ms: u64,
    /// Attempts at once, at least 1. Where it is more, the last place is a P1's: a receiver that hangs with other deliveries holds
    /// no P1 back.
    pub at_once_max: u32,
    /// Where what it does not take goes as well.
    pub fallback: Option<Arc<str>>,
    /// It gets one delivery per alert (`grouping = "none"`), so that each has its own dedup key.
    pub is_per_alert: bool,
    /// Changes with the sink's configuration, its secrets or its plugin: one that is gone is tried again then.
    pub generation: u64,
}

/// Every configured sink. Each fallback is one of them, and following them ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SinkTable(BTreeMap<Arc<str>, SinkSchedule>);

/// Why sinks cannot be configured so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSinks {
    /// Two have one name.
    #[error("there are two sinks with the name {0:?}")]
    Twice(Arc<str>),
    /// Nothing would be delivered there.
    #[error("the fallback {fallback:?} of the sink {sink:?} is not configured")]
    UnknownFallback {
        /// Whose.
        sink: Arc<str>,
        /// Which.
        fallback: Arc<str>,
    },
    /// What nobody takes would go round for ever.
    #[error("the fallbacks of the sink {0:?} lead back to itself")]
    Cycle(Arc<str>),
}

impl SinkTable {
    /// Checks what is configured.
    ///
    /// # Errors
    /// Names the first sink whose name or fallback cannot be.
    pub fn new(sinks: impl IntoIterator<Item = SinkSchedule>) -> Result<Self, InvalidSinks> {
        let mut table = BTreeMap::new();
        for settings in sinks {
            let sink = Arc::clone(&settings.sink);
            if table.insert(Arc::clone(&sink), settings).is_some() {
                return Err(InvalidSinks::Twice(sink));
            }
        }
        let table = Self(table);
        for sink in table.0.keys() {
            table.follow(sink)?;
        }
        Ok(table)
    }

    fn follow(&self, sink: &Arc<str>) -> Result<(), InvalidSinks> {
        let mut at = sink;
        // A way that is longer than there are sinks comes by one of them twice.
        for _ in 0..self.0.len() {
            let Some(fallback) = self.0.get(at).and_then(|at| at.fallback.as_ref()) else {
                return Ok(());
            };
            if !self.0.contains_key(fallback) {
                return Err(InvalidSinks::UnknownFallback {
                    sink: Arc::clone(at),
                    fallback: Arc::clone(fallback),
                });
            }
            at = fallback;
        }
        Err(InvalidSinks::Cycle(Arc::clone(sink)))
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &SinkSchedule> {
        self.0.values()
    }

    /// The sink of that name.
    #[must_use]
    pub fn get(&self, sink: &str) -> Option<&SinkSchedule> {
        self.0.get(sink)
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidSinks, SinkSchedule, SinkTable};

    fn sink((name, fallback): (&str, &str)) -> SinkSchedule {
        SinkSchedule {
            sink: name.into(),
            interval_ms: 1_000,
            at_once_max: 1,
            fallback: (!fallback.is_empty()).then(|| fallback.into()),
            is_per_alert: false,
            generation: 1,
        }
    }

    fn check(sinks: &[(&str, &str)]) -> Result<SinkTable, InvalidSinks> {
        SinkTable::new(sinks.iter().copied().map(sink))
    }

    #[test]
    fn fallbacks_must_exist_and_end() {
        assert!(check(&[("a", "b"), ("b", "c"), ("c", ""), ("d", "c")]).is_ok());
        assert!(check(&[]).is_ok());
        let cycles: [&[(&str, &str)]; 3] = [
            &[("a", "a")],
            &[("a", "b"), ("b", "a")],
            &[("a", "b"), ("b", "c"), ("c", "b")],
        ];
        for cycle in cycles {
            let refused = check(cycle).unwrap_err();
            assert!(matches!(refused, InvalidSinks::Cycle(_)), "{refused}");
        }
        let unknown = InvalidSinks::UnknownFallback {
            sink: "a".into(),
            fallback: "b".into(),
        };
        assert_eq!(check(&[("a", "b")]).unwrap_err(), unknown);
        let twice = check(&[("a", ""), ("a", "")]).unwrap_err();
        assert_eq!(twice, InvalidSinks::Twice("a".into()));
    }
}
