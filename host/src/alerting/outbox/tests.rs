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
