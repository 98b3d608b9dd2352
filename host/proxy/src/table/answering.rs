//! A few instances that answer, for the text of a rejection: a model that reads it may have another one to turn to.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use router_core::{InstanceId, permit::BreakerState, route::Route};

use super::{RoutingEntry, RoutingTable};

/// Instances that a rejection names: more would be a list to read through.
const NAMED_MAX: usize = 3;

/// Entries looked at for them. In a fleet of which hardly any answers, one second has that many looks and no more.
const LOOKED_AT_MAX: usize = 4096;

/// How old the names may be: rejections can be many, and what they name changes seldom.
const KEPT_MS: u64 = 1_000;

/// The names as they were last gathered.
#[derive(Default)]
pub(super) struct Answering {
    /// Up to one more than are named, so that the instance that rejects can be left out.
    names: ArcSwap<Vec<InstanceId>>,
    /// When they are to be gathered anew.
    until_ms: AtomicU64,
}

impl RoutingTable {
    /// A few instances besides this one that are ready and whose breaker is CLOSED, or were so within the last second.
    pub(crate) fn answering(&self, besides: &InstanceId, now_ms: u64) -> Vec<InstanceId> {
        let kept = &self.answering;
        let until_ms = kept.until_ms.load(Ordering::Relaxed);
        // One of the requests that find them too old gathers them; the others take what there is.
        let is_mine = until_ms <= now_ms
            && kept
                .until_ms
                .compare_exchange(
                    until_ms,
                    now_ms.saturating_add(KEPT_MS),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok();
        if is_mine {
            kept.names.store(Arc::new(self.gather_answering()));
        }
        let names = kept.names.load();
        let others = names.iter().filter(|name| *name != besides);
        others.take(NAMED_MAX).cloned().collect()
    }

    fn gather_answering(&self) -> Vec<InstanceId> {
        let mut names = Vec::with_capacity(NAMED_MAX + 1);
        let mut looked_at = 0;
        for shard in &self.shards {
            for (_, cell) in shard.load().iter() {
                looked_at += 1;
                let answers = cell
                    .entry
                    .load()
                    .as_ref()
                    .is_some_and(|entry| answers(entry));
                if answers {
                    names.push(cell.instance.clone());
                }
                if names.len() > NAMED_MAX || looked_at >= LOOKED_AT_MAX {
                    return names;
                }
            }
        }
        names
    }
}

fn answers(entry: &RoutingEntry) -> bool {
    matches!(entry.route, Route::Ready { .. })
        && entry.is_served()
        && entry.breaker.cell().state() == BreakerState::Closed
}
