//! What the database is to have of each step: how it gets into the step's record of the journal, and from there on its way.
//!
//! What there is no room for is left out, and made up for from the engine when there is room again; deliveries cannot be, and are counted.

use std::collections::BTreeSet;

use router_alerts::{AlertEngine, AlertId, settings::ALERTS_MAX};
use router_delivery::{JournalContents, JournalRow};
use router_store::Store;
use tokio::sync::mpsc;

use super::{
    outbox::{DatabaseRow, Outbox, RowBatch},
    rows,
};

/// The loop's end of the way into the database.
pub(crate) struct DatabaseEnd {
    /// One at a time.
    pub(crate) batches: mpsc::Sender<RowBatch>,
    pub(crate) brought: mpsc::Receiver<()>,
    /// Counts what was left out.
    pub(crate) store: Store,
}

/// See the module.
pub(crate) struct DatabaseProjection {
    outbox: Outbox,
    /// Rows of the present step.
    changed: Vec<DatabaseRow>,
    /// Alerts whose rows the database may lack.
    owed: BTreeSet<AlertId>,
    /// Rows were left out of the last steps for want of room: logged once.
    is_crowded: bool,
    end: DatabaseEnd,
}

impl DatabaseProjection {
    /// What earlier lives of the router could not bring, and the alerts that the journal knows: whatever the database has of those, it is
    /// to be as the journal has it.
    pub(crate) fn restore(
        kept: &JournalContents,
        epoch: u64,
        known: impl Iterator<Item = AlertId>,
        end: DatabaseEnd,
    ) -> Self {
        Self {
            outbox: Outbox::restore(kept, epoch),
            changed: Vec::new(),
            owed: known.collect(),
            is_crowded: false,
            end,
        }
    }

    /// Takes rows of the present step.
    pub(crate) fn note(&mut self, rows: impl IntoIterator<Item = DatabaseRow>) {
        self.changed.extend(rows);
    }

    /// Adds what the database is to have of the step, and what it has by now, to the rows of the step. `room` is how many bytes the journal
    /// has left.
    pub(crate) fn add_to(
        &mut self,
        rows: &mut Vec<JournalRow>,
        engine: &AlertEngine,
        now_ms: u64,
        mut room: u64,
    ) {
        let mut left_out = self.outbox.give_way(room);
        for row in self.changed.drain(..) {
            match self.outbox.put(row.clone(), &mut room) {
                Some(row) => rows.push(row),
                None => left_out.push(row),
            }
        }
        let mut lost = 0;
        for row in left_out {
            match row.alert() {
                Some(alert) if self.owed.len() < ALERTS_MAX => drop(self.owed.insert(alert)),
                _ => lost += 1,
            }
        }
        while self.outbox.is_calm(room)
            && let Some(alert) = self.owed.pop_first()
        {
            let row = engine
                .alert(alert)
                .map(|alert| rows::of_present(alert, now_ms));
            match row {
                Some(row) => rows.extend(row.and_then(|row| self.outbox.put(row, &mut room))),
                None => lost += 1,
            }
        }
        self.count_lost(lost);
        rows.extend(self.outbox.removals(!rows.is_empty()));
    }

    fn count_lost(&mut self, lost: u64) {
        if lost == 0 {
            return;
        }
        self.end.store.count_left_out(lost);
        if !std::mem::replace(&mut self.is_crowded, true) {
            tracing::warn!(
                "alerts in the database have gaps: it was away, or slower than they came, for longer than the alert journal has room"
            );
        }
    }

    /// Sends rows on their way, where none are.
    pub(crate) fn send(&mut self) {
        if let Some(batch) = self.outbox.batch() {
            // There is room: one is sent at a time. An end that is gone takes nothing any more, and the journal has the rows.
            let _ = self.end.batches.try_send(batch);
        } else {
            self.is_crowded &= !self.outbox.is_empty();
        }
    }

    /// Waits until the rows on their way are in the database; `None` where nobody brings them any more. To be confirmed by
    /// [`DatabaseProjection::confirm`].
    pub(crate) async fn brought(&mut self) -> Option<()> {
        self.end.brought.recv().await
    }

    /// The rows that were on their way are in the database.
    pub(crate) fn confirm(&mut self) {
        self.outbox.brought();
    }
}
