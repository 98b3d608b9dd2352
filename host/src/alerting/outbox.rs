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
mod tests {
    use super::{BYTES_MAX, DatabaseRow, JOURNAL_KEPT_FREE, Outbox, REMOVALS_MAX, RowBatch};
    use router_delivery::{JournalContents, JournalRow};
    use router_values::{AlertRow, DeliveryRecord};

    const ROOM: u64 = 32 * 1024 * 1024;

    fn alert(firing: i64, severity: &str, state: &str) -> DatabaseRow {
        DatabaseRow::Alert(AlertRow {
            alert: "a".into(),
            firing,
            severity: severity.into(),
            state: state.into(),
            ..AlertRow::default()
        })
    }

    fn delivery(id: &str, outcome: &str, at_ms: Option<i64>) -> DatabaseRow {
        DatabaseRow::Delivery(DeliveryRecord {
            id: id.into(),
            outcome: outcome.into(),
            first_attempt_ms: at_ms,
            ..DeliveryRecord::default()
        })
    }

    /// The journal: of each name the last row counts.
    #[derive(Default)]
    struct Journal(JournalContents);

    impl Journal {
        fn write(&mut self, rows: impl IntoIterator<Item = JournalRow>) {
            for (key, value) in rows {
                match value {
                    Some(value) => self.0.rows.insert(key, value),
                    None => self.0.rows.remove(&key),
                };
            }
        }

        fn put(&mut self, outbox: &mut Outbox, row: DatabaseRow) {
            let row = outbox.put(row, &mut ROOM.clone());
            self.write(row);
            let removals: Vec<JournalRow> = outbox.removals(true).collect();
            self.write(removals);
        }
    }

    fn states(batch: &RowBatch) -> Vec<(i64, String)> {
        let rows = batch.alerts.iter();
        rows.map(|row| (row.firing, row.state.clone())).collect()
    }

    #[test]
    fn rows_wait_in_the_order_of_their_last_change_and_go_when_they_are_brought() {
        let mut journal = Journal::default();
        let mut outbox = Outbox::restore(&journal.0, 3);
        journal.put(&mut outbox, alert(1, "P1", "firing"));
        journal.put(&mut outbox, alert(2, "P1", "firing"));
        journal.put(&mut outbox, alert(1, "P1", "resolved"));
        let batch = outbox.batch().unwrap();
        let expected = [(2, "firing".to_owned()), (1, "resolved".to_owned())];
        assert_eq!(states(&batch), expected);
        assert_eq!(outbox.batch(), None, "one batch at a time");
        // It changes while it is on its way, and so is brought again.
        journal.put(&mut outbox, alert(2, "P1", "resolved"));
        outbox.brought();
        journal.put(&mut outbox, delivery("d", "sending", Some(5)));
        let batch = outbox.batch().unwrap();
        assert_eq!(states(&batch), [(2, "resolved".to_owned())]);
        assert_eq!(batch.deliveries.len(), 1);
        outbox.brought();
        assert_eq!(outbox.batch(), None);
        assert_eq!(outbox.bytes, 0);
        let removals: Vec<JournalRow> = outbox.removals(true).collect();
        journal.write(removals);
        assert!(journal.0.rows.is_empty(), "{:?}", journal.0.rows);
    }

    /// Whatever happened before a kill, the next life brings what is in the journal, and later than everything of the life before.
    #[test]
    fn the_next_life_goes_on_with_what_was_not_brought() {
        let mut journal = Journal::default();
        let mut outbox = Outbox::restore(&journal.0, 3);
        journal.put(&mut outbox, alert(1, "P2", "firing"));
        journal.put(&mut outbox, delivery("d", "sending", Some(5)));
        // Brought, and killed before that was written.
        outbox.batch().unwrap();
        outbox.brought();
        let mut outbox = Outbox::restore(&journal.0, 4);
        journal.put(&mut outbox, delivery("d", "delivered", None));
        let batch = outbox.batch().unwrap();
        assert_eq!(states(&batch), [(1, "firing".to_owned())]);
        let row = &batch.deliveries[0];
        assert_eq!(row.outcome, "delivered");
        assert_eq!(
            row.first_attempt_ms,
            Some(5),
            "what an earlier version said"
        );
        assert!(row.version > batch.alerts[0].version);
        assert_eq!((batch.alerts[0].version.epoch, row.version.epoch), (3, 4));
        journal.write([("database/alert/x".to_owned(), None)]);
    }

    #[test]
    fn what_there_is_no_room_for_is_left_out_the_less_urgent_first() {
        let mut outbox = Outbox::default();
        let large = |firing, severity: &str| {
            let DatabaseRow::Alert(row) = alert(firing, severity, "resolved") else {
                unreachable!();
            };
            DatabaseRow::Alert(AlertRow {
                summary: "s".repeat(500_000),
                story: "t".repeat(500_000),
                ..row
            })
        };
        let fill = |outbox: &mut Outbox, severity: &str| {
            let taken = |firing: &i64| {
                outbox
                    .put(large(*firing, severity), &mut ROOM.clone())
                    .is_some()
            };
            let first = if severity == "P1" { 100 } else { 0 };
            (first..first + 100).take_while(taken).count()
        };
        // Four with their stories, and one more without.
        assert_eq!(fill(&mut outbox, "P3"), 4);
        assert!((4..=5).contains(&fill(&mut outbox, "P1")));
        assert!(outbox.bytes <= BYTES_MAX);
        // One that waits is brought up to date all the same.
        assert!(
            outbox
                .put(alert(0, "P3", "resolved"), &mut ROOM.clone())
                .is_some()
        );
        // The journal's room is its own first.
        let mut outbox = Outbox::default();
        let mut room = JOURNAL_KEPT_FREE + 10;
        assert!(outbox.put(alert(1, "P1", "firing"), &mut room).is_none());
        let mut room = JOURNAL_KEPT_FREE + 1_000_000;
        assert!(outbox.put(alert(1, "P1", "firing"), &mut room).is_some());
        assert!(room < JOURNAL_KEPT_FREE + 1_000_000);
    }

    #[test]
    fn rows_give_way_to_what_the_journal_is_for_the_less_urgent_first() {
        let mut journal = Journal::default();
        let mut outbox = Outbox::default();
        for firing in 0..100 {
            let severity = if firing % 2 == 0 { "P1" } else { "P4" };
            journal.put(&mut outbox, alert(firing, severity, "firing"));
        }
        let all = outbox.bytes;
        assert!(outbox.give_way(JOURNAL_KEPT_FREE / 2).is_empty());
        // Where it begins, it makes room for several steps.
        assert_eq!(outbox.give_way(JOURNAL_KEPT_FREE / 2 - 1).len(), 100);
        assert_eq!((outbox.bytes, outbox.batch()), (0, None));
        let removals: Vec<JournalRow> = outbox.removals(false).collect();
        assert_eq!(removals.len(), 0, "with the next step");
        let removals: Vec<JournalRow> = outbox.removals(true).collect();
        journal.write(removals);
        assert!(journal.0.rows.is_empty());

        for firing in 0..40_000 {
            let severity = if firing % 2 == 0 { "P1" } else { "P4" };
            outbox.put(alert(firing, severity, "firing"), &mut ROOM.clone());
        }
        assert!(outbox.bytes > 100 * all);
        let left_out = outbox.give_way(JOURNAL_KEPT_FREE / 2 - 1);
        assert!(left_out.len() > 1_000);
        let urgent = outbox.waiting.values().filter(|one| one.row.is_urgent());
        assert_eq!(
            urgent.count(),
            outbox.waiting.len(),
            "those of P4 went first"
        );
        // One that changes again is brought all the same.
        outbox.batch().unwrap();
        outbox.brought();
        assert!(
            outbox
                .put(alert(1, "P4", "resolved"), &mut ROOM.clone())
                .is_some()
        );
    }

    #[test]
    fn a_batch_is_bounded_and_rows_leave_the_journal_with_others_or_when_they_are_many() {
        let mut outbox = Outbox::default();
        for firing in 0..1_200 {
            outbox.put(alert(firing, "P1", "firing"), &mut ROOM.clone());
        }
        let mut brought = Vec::new();
        while let Some(batch) = outbox.batch() {
            brought.push(batch.alerts.len());
            outbox.brought();
        }
        assert!(brought.iter().all(|rows| *rows <= 500), "{brought:?}");
        assert_eq!(brought.iter().sum::<usize>(), 1_200);
        assert_eq!(outbox.removals(false).count(), 1_200);
        outbox.put(alert(1, "P1", "firing"), &mut ROOM.clone());
        outbox.batch().unwrap();
        outbox.brought();
        assert_eq!(outbox.removals(false).count(), 0);
        assert!(outbox.removals.len() < REMOVALS_MAX);
        assert_eq!(outbox.removals(true).count(), 1);
    }
}
