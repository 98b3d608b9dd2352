//! What the database lacks of alerts and deliveries.
//!
//! Each such row is a row of the alert journal, in the record of the step that made it, until the database has it: no kill comes between
//! a step and its rows, and there is no second queue on disk that could disagree with the journal. Of a row that changes again before it
//! was brought only the last version waits, behind everything that changed before. Repeating one is harmless: the database goes by its
//! version.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use router_alerts::AlertId;
use router_delivery::{JournalContents, JournalRow};
use router_values::{AlertRow, DeliveryRecord, RowVersion};
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

/// What names of its rows begin with in the journal.
const OUTBOX: &str = "database/";
/// Bytes of rows that wait: some 3,000 firings with their deliveries and stories, of P3 and P4 half as many.
const BYTES_MAX: u64 = 8 * 1024 * 1024;
/// So much of the journal is left to alerts and deliveries themselves, which it is for: several steps in which each rule of ten raises
/// all that it may. Where they need more, rows that wait give way.
const JOURNAL_KEPT_FREE: u64 = 8 * 1024 * 1024;
/// Rows, and about as many bytes, in one transaction of the database: some milliseconds of its time.
const BATCH_ROWS: usize = 500;
const BATCH_BYTES: u64 = 1024 * 1024;
/// Rows that are in the database leave the journal with the next step, but are not let grow past this.
const REMOVALS_MAX: usize = 500;

/// One row, for either table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DatabaseRow {
    Alert(AlertRow),
    Delivery(DeliveryRecord),
}

/// Rows on their way into the database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RowBatch {
    pub(crate) alerts: Vec<AlertRow>,
    pub(crate) deliveries: Vec<DeliveryRecord>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    epoch: i64,
    sequence: i64,
    waiting: BTreeMap<RowVersion, Waiting>,
    versions: HashMap<String, RowVersion>,
    bytes: u64,
    /// The batch that is on its way.
    given: Vec<(String, RowVersion)>,
    /// Rows that the database has and the journal need not keep any more.
    removals: BTreeSet<String>,
}

#[derive(Debug)]
struct Waiting {
    key: String,
    row: DatabaseRow,
    bytes: u64,
}

impl Outbox {
    /// What earlier lives of the router could not bring, for its life of this number.
    pub(crate) fn restore(kept: &JournalContents, epoch: u64) -> Self {
        let mut outbox = Self {
            epoch: i64::try_from(epoch).unwrap_or(i64::MAX),
            ..Self::default()
        };
        let rows = kept.rows.range(OUTBOX.to_owned()..);
        for (key, value) in rows.take_while(|(key, _)| key.starts_with(OUTBOX)) {
            match serde_json::from_str::<DatabaseRow>(value.get()) {
                Ok(row) => outbox.insert(key.clone(), row, (key.len() + value.get().len()) as u64),
                Err(error) => {
                    tracing::error!(key, error = %error, "row of the alert journal is none of this version");
                    outbox.removals.insert(key.clone());
                }
            }
        }
        outbox
    }

    /// Takes a row, as the present step has it: its row of the journal. `room` is how many bytes the journal has left, and is made less.
    /// None where there is no room: the row is left out, and the database keeps the version before. A story is left out first.
    pub(crate) fn put(&mut self, mut row: DatabaseRow, room: &mut u64) -> Option<JournalRow> {
        let key = row.key();
        let before = self.versions.get(&key).and_then(|at| self.waiting.get(at));
        let freed = before.map_or(0, |before| before.bytes);
        if let Some(before) = before {
            row.absorb(&before.row);
        }
        self.sequence += 1;
        row.set_version(RowVersion {
            epoch: self.epoch,
            sequence: self.sequence,
        });
        let mut value = to_raw_value(&row).ok()?;
        if !self.fits(&row, (key.len() + value.get().len()) as u64, freed, *room) {
            row.leave_out_story();
            value = to_raw_value(&row).ok()?;
            // What takes an earlier version's place is hardly longer than that.
            let bytes = (key.len() + value.get().len()) as u64;
            if freed == 0 && !self.fits(&row, bytes, freed, *room) {
                return None;
            }
        }
        let bytes = (key.len() + value.get().len()) as u64;
        *room = room.saturating_sub(bytes.saturating_sub(freed));
        self.removals.remove(&key);
        self.insert(key.clone(), row, bytes);
        Some((key, Some(value)))
    }

    fn fits(&self, row: &DatabaseRow, bytes: u64, freed: u64, room: u64) -> bool {
        let bytes_max = if row.is_urgent() {
            BYTES_MAX
        } else {
            BYTES_MAX / 2
        };
        self.bytes - freed + bytes <= bytes_max && room >= JOURNAL_KEPT_FREE + bytes
    }

    fn insert(&mut self, key: String, row: DatabaseRow, bytes: u64) {
        let version = row.version();
        if let Some(before) = self.versions.insert(key.clone(), version) {
            self.remove(before);
        }
        self.bytes += bytes;
        self.waiting.insert(version, Waiting { key, row, bytes });
    }

    fn remove(&mut self, version: RowVersion) {
        if let Some(gone) = self.waiting.remove(&version) {
            self.bytes -= gone.bytes;
        }
    }

    /// The rows that changed first, unless some are on their way already: in the database before those that changed later.
    pub(crate) fn batch(&mut self) -> Option<RowBatch> {
        if !self.given.is_empty() || self.waiting.is_empty() {
            return None;
        }
        let mut batch = RowBatch::default();
        let mut bytes = 0;
        for (version, waiting) in self.waiting.iter().take(BATCH_ROWS) {
            bytes += waiting.bytes;
            if bytes > BATCH_BYTES && !self.given.is_empty() {
                break;
            }
            self.given.push((waiting.key.clone(), *version));
            match &waiting.row {
                DatabaseRow::Alert(row) => batch.alerts.push(row.clone()),
                DatabaseRow::Delivery(row) => batch.deliveries.push(row.clone()),
            }
        }
        Some(batch)
    }

    /// Leaves rows out again where alerts and deliveries have taken half of what was left to them, those of P3 and P4 first. Which.
    pub(crate) fn give_way(&mut self, room: u64) -> Vec<DatabaseRow> {
        let mut left_out = Vec::new();
        if room >= JOURNAL_KEPT_FREE / 2 || self.waiting.is_empty() {
            return left_out;
        }
        let mut needed = JOURNAL_KEPT_FREE - room;
        for is_urgent in [false, true] {
            let of_kind = |(version, waiting): (&RowVersion, &Waiting)| {
                (waiting.row.is_urgent() == is_urgent).then_some(*version)
            };
            let versions: Vec<RowVersion> = self.waiting.iter().filter_map(of_kind).collect();
            for version in versions {
                if needed == 0 {
                    return left_out;
                }
                if let Some(gone) = self.waiting.remove(&version) {
                    self.bytes -= gone.bytes;
                    needed = needed.saturating_sub(gone.bytes);
                    self.versions.remove(&gone.key);
                    self.removals.insert(gone.key);
                    left_out.push(gone.row);
                }
            }
        }
        left_out
    }

    /// Whether so little waits that what was left out can be made up for.
    pub(crate) fn is_calm(&self, room: u64) -> bool {
        self.bytes < BYTES_MAX / 4 && room > JOURNAL_KEPT_FREE + BATCH_BYTES
    }

    /// Whether the database has everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The batch is in the database.
    pub(crate) fn brought(&mut self) {
        for (key, version) in std::mem::take(&mut self.given) {
            // One that changed meanwhile is brought again.
            if self.versions.get(&key) == Some(&version) {
                self.versions.remove(&key);
                self.remove(version);
                self.removals.insert(key);
            }
        }
    }

    /// Rows that leave the journal, with the rows of a step; or alone, where there are many.
    pub(crate) fn removals(&mut self, with_others: bool) -> impl Iterator<Item = JournalRow> {
        let is_time = with_others || self.removals.len() >= REMOVALS_MAX;
        let removals = if is_time {
            std::mem::take(&mut self.removals)
        } else {
            BTreeSet::new()
        };
        removals.into_iter().map(|key| (key, None))
    }
}

impl DatabaseRow {
    /// The alert whose row it is.
    pub(crate) fn alert(&self) -> Option<AlertId> {
        match self {
            Self::Alert(row) => AlertId::parse(&row.alert),
            Self::Delivery(_) => None,
        }
    }

    fn key(&self) -> String {
        match self {
            Self::Alert(row) => format!("{OUTBOX}alert/{}-{}", row.alert, row.firing),
            Self::Delivery(row) => format!("{OUTBOX}delivery/{}", row.id),
        }
    }

    fn version(&self) -> RowVersion {
        match self {
            Self::Alert(row) => row.version,
            Self::Delivery(row) => row.version,
        }
    }

    fn set_version(&mut self, version: RowVersion) {
        match self {
            Self::Alert(row) => row.version = version,
            Self::Delivery(row) => row.version = version,
        }
    }

    fn is_urgent(&self) -> bool {
        let severity = match self {
            Self::Alert(row) => &row.severity,
            Self::Delivery(row) => &row.severity,
        };
        matches!(severity.as_str(), "P1" | "P2")
    }

    fn absorb(&mut self, earlier: &Self) {
        if let (Self::Delivery(row), Self::Delivery(earlier)) = (self, earlier) {
            row.absorb(earlier);
        }
    }

    fn leave_out_story(&mut self) {
        if let Self::Alert(row) = self {
            row.story.clear();
        }
    }
}

#[cfg(test)]
mod tests;
