//! What is kept of each step: one record, made durable before anything of the step is sent, from which the same state comes again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    alert::Alert,
    delivery::DeliveryOrder,
    history::HistoryEntry,
    identity::AlertId,
    silence::{Silence, SilenceId},
};

/// Everything that one step changed. Later records take precedence over earlier ones about the same alert or silence, so that a
/// journal is shortened by leaving out what a later record has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What is kept from now on.
    pub changes: Vec<RecordChange>,
    /// What is ordered of the delivery, in order.
    pub orders: Vec<DeliveryOrder>,
}

/// A part of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordChange {
    /// An alert as it is after the step, and what happened to it in it.
    Alert {
        /// The whole of it.
        alert: Box<Alert>,
        /// The latest entries of its history.
        history: Vec<HistoryEntry>,
    },
    /// An alert that is forgotten; the numbers are where it goes on if it comes back.
    Forgotten(Tombstone),
    /// Every alert that comes for the first time, or that nothing is kept of, goes on from this number of firings.
    FiringFloor(u32),
    /// A sink heard of an open group; where a journal is whole, its deliveries say it.
    GroupHeard {
        /// Which sink.
        sink: Arc<str>,
        /// Of which group.
        group_key: Arc<str>,
        /// When, in milliseconds since 1970.
        at_ms: u64,
    },
    /// A silence is made, or its end is another.
    Silence {
        /// Names it.
        id: SilenceId,
        /// The whole of it.
        silence: Silence,
    },
    /// A silence is over.
    SilenceEnded(SilenceId),
}

/// What is kept of an alert that has long ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Whose.
    pub alert: AlertId,
    /// How often it fired.
    pub firing: u32,
}

impl Record {
    /// Whether nothing would be lost without it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.orders.is_empty()
    }
}
