//! Alerts and their deliveries as the database has them: what is left of both when the router itself has forgotten them.

use serde::{Deserialize, Serialize};

/// Where a row stands among the changes that one router made: the life of the router, and its number in that life. Of two versions
/// of a row the one that stands later is right, in whatever order they arrive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RowVersion {
    /// The life.
    pub epoch: i64,
    /// The number, from 1.
    pub sequence: i64,
}

/// One firing of one alert. Its serde form is the one on disk and in statements: a field may be added, never renamed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertRow {
    /// Its number in the database, by which pages go: what [`AlertQuery::before`] takes.
    #[serde(skip)]
    pub seq: i64,
    /// The alert's id, 16 hexadecimal digits.
    pub alert: String,
    /// Which time that it fired, from 1.
    pub firing: i64,
    /// The condition's key, of which the id is made.
    pub key: String,
    /// The rule that named the condition.
    pub rule: String,
    /// The condition's name.
    pub name: String,
    /// `P1` to `P4`.
    pub severity: String,
    /// Which instance; empty where it is about none.
    pub instance: String,
    /// What is wrong, for people.
    pub summary: String,
    /// What to do, for people.
    pub remedy: String,
    /// The anchor in the runbook; or empty.
    pub runbook: String,
    /// The condition's attributes, a JSON object of texts.
    pub attributes: String,
    /// `firing`, `acknowledged` or `resolved`.
    pub state: String,
    /// Since when the condition held, in milliseconds since 1970.
    pub since_ms: i64,
    /// When it fired, in milliseconds since 1970.
    pub fired_ms: i64,
    /// Who acknowledged it last; or empty.
    pub acknowledged_by: String,
    /// When, in milliseconds since 1970.
    pub acknowledged_ms: Option<i64>,
    /// When it was over, in milliseconds since 1970.
    pub resolved_ms: Option<i64>,
    /// Why it is over, for people; or empty.
    pub resolved_because: String,
    /// What happened to it, a JSON list of the engine's entries; empty as long as the engine itself has them.
    pub story: String,
    /// When this was so, in milliseconds since 1970.
    pub at_ms: i64,
    /// Whose it is; given by the store.
    #[serde(default)]
    pub router_id: String,
    /// Which of the row's versions this is.
    #[serde(flatten)]
    pub version: RowVersion,
}

/// One message to one sink. Its serde form is the one on disk and in statements: a field may be added, never renamed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRecord {
    /// Made of alert, firing, step and sink.
    pub id: String,
    /// The first of the alerts that it is news of.
    pub alert: String,
    /// Which firing of it.
    pub firing: i64,
    /// Which step of it.
    pub step: i64,
    /// To which sink.
    pub sink: String,
    /// By which route; empty where by none.
    pub route: String,
    /// Why it was sent.
    pub occasion: String,
    /// `P1` to `P4`.
    pub severity: String,
    /// When it was decided, in milliseconds since 1970.
    pub decided_ms: i64,
    /// `sending`, `failed` (it is tried again), `delivered`, `dead_letter`, `requeued`, `cancelled` or `collapsed`.
    pub outcome: String,
    /// Attempts that were begun.
    pub attempts: i64,
    /// When the first attempt began, in milliseconds since 1970.
    pub first_attempt_ms: Option<i64>,
    /// When the last one began, in milliseconds since 1970.
    pub last_attempt_ms: Option<i64>,
    /// What the receiver said last where it did not take it, or why it was given up; or empty.
    pub answer: String,
    /// When this was so, in milliseconds since 1970.
    pub at_ms: i64,
    /// Whose it is; given by the store.
    #[serde(default)]
    pub router_id: String,
    /// Which of the row's versions this is.
    #[serde(flatten)]
    pub version: RowVersion,
}

impl DeliveryRecord {
    /// Takes over what a later version does not say.
    pub fn absorb(&mut self, earlier: &Self) {
        self.attempts = self.attempts.max(earlier.attempts);
        self.first_attempt_ms = earlier.first_attempt_ms.or(self.first_attempt_ms);
        self.last_attempt_ms = self.last_attempt_ms.or(earlier.last_attempt_ms);
        if self.answer.is_empty() {
            self.answer.clone_from(&earlier.answer);
        }
    }
}

/// Which past firings to read, the latest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertQuery {
    /// Only rows whose `seq` is smaller.
    pub before: Option<i64>,
    /// At most so many rows.
    pub rows_max: u32,
    /// Only those of this severity.
    pub severity: Option<String>,
    /// Only those about this instance.
    pub instance: Option<String>,
}

/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertPage {
    /// The rows.
    pub rows: Vec<AlertRow>,
    /// How many there are in all, on whatever page.
    pub total: i64,
}

#[cfg(test)]
mod tests {
    use super::{AlertRow, DeliveryRecord};

    /// A journal of an earlier version is read, and what it wrote means the same.
    #[test]
    fn the_form_on_disk_stays() {
        let text = r#"{"alert":"00112233aabbccdd","firing":2,"key":"k","rule":"r","name":"n","severity":"P1","instance":"demo","summary":"s","remedy":"m","runbook":"b","attributes":"{}","state":"resolved","since_ms":1,"fired_ms":2,"acknowledged_by":"a","acknowledged_ms":3,"resolved_ms":4,"resolved_because":"gone","story":"[]","at_ms":5,"router_id":"x","epoch":7,"sequence":9}"#;
        let row: AlertRow = serde_json::from_str(text).unwrap();
        assert_eq!(
            (row.firing, row.version.epoch, row.version.sequence),
            (2, 7, 9)
        );
        assert_eq!(serde_json::to_string(&row).unwrap(), text);
        let text = r#"{"id":"i","alert":"00112233aabbccdd","firing":2,"step":3,"sink":"s","route":"r","occasion":"firing","severity":"P1","decided_ms":1,"outcome":"failed","attempts":2,"first_attempt_ms":3,"last_attempt_ms":4,"answer":"a","at_ms":5,"router_id":"x","epoch":7,"sequence":9}"#;
        let row: DeliveryRecord = serde_json::from_str(text).unwrap();
        assert_eq!(
            (row.step, row.version.epoch, row.version.sequence),
            (3, 7, 9)
        );
        assert_eq!(serde_json::to_string(&row).unwrap(), text);
    }
}
