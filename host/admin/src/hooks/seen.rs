//! Events that were taken already: a service sends an event again when it did not hear the answer.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// How many are remembered, of all sinks. An event is sent again within minutes at first; one that is not remembered any more says when
/// it happened, and changes nothing that was done since.
const SEEN_MAX: usize = 1_024;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct SeenEvents(Mutex<VecDeque<(String, String)>>);

impl SeenEvents {
    /// Whether a sink's event was taken.
    pub(super) fn has(&self, sink: &str, id: &str) -> bool {
        let seen = self.0.lock();
        seen.iter().any(|(of, one)| of == sink && one == id)
    }

    /// It was taken.
    pub(super) fn note(&self, sink: &str, id: &str) {
        let mut seen = self.0.lock();
        if seen.len() == SEEN_MAX {
            seen.pop_front();
        }
        seen.push_back((sink.to_owned(), id.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::{SEEN_MAX, SeenEvents};

    #[test]
    fn events_are_known_by_sink_and_id_for_a_while() {
        let seen = SeenEvents::default();
        seen.note("a", "1");
        assert!(seen.has("a", "1") && !seen.has("b", "1") && !seen.has("a", "2"));
        for id in 0..SEEN_MAX {
            seen.note("b", &id.to_string());
        }
        assert!(!seen.has("a", "1") && seen.has("b", "0"));
        assert_eq!(seen.0.lock().len(), SEEN_MAX);
    }
}
