//! Facts: what happened and must not be lost, whatever the database does. They travel through the spool as lines of JSON
//! and into the database as statements that are harmless to repeat.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use router_values::{AuditRow, HistoryRow};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    sql::{Call, args, now_ms},
    statements::{
        AUDIT_INSERT, CRASH_CLEAR, CRASH_INSERT, CRASH_TRIM, HISTORY_INSERT, INTENTION_SET,
    },
};

/// Longest name in a row: actor, role, action, target, result. An address or an id is far shorter.
pub(crate) const NAME_CHARS_MAX: usize = 512;
/// Longest reason, and longest detail, of a row.
pub(crate) const DETAIL_CHARS_MAX: usize = 4_096;
/// Longest crash evidence as text, in bytes: a stderr tail of some hundred lines.
const EVIDENCE_BYTES_MAX: usize = 64 * 1024;
/// Crash evidence kept per instance: enough to see a pattern.
pub(crate) const CRASHES_PER_INSTANCE_MAX: i64 = 20;

/// Where rows come from, which every row carries: a router and its life.
#[derive(Debug)]
pub(crate) struct RowOrigin {
    pub(crate) router_id: String,
    pub(crate) epoch: i64,
    /// The latest moment given out, in milliseconds since 1970.
    latest_ms: AtomicI64,
    /// The number of the latest row of the history.
    happened: AtomicI64,
}

impl RowOrigin {
    /// The rows of one life of a router.
    pub(crate) fn new(router_id: &str, epoch: i64) -> Self {
        Self {
            router_id: router_id.to_owned(),
            epoch,
            latest_ms: AtomicI64::new(0),
            happened: AtomicI64::new(0),
        }
    }

    /// Now, but after every moment given out earlier: neither a clock that is set back nor two facts in one millisecond may
    /// make a decision older than the one before it.
    fn ordered_ms(&self) -> i64 {
        let now_ms = now_ms();
        let later = |latest_ms: i64| now_ms.max(latest_ms.saturating_add(1));
        let before = self
            .latest_ms
            .fetch_update(Relaxed, Relaxed, |latest_ms| Some(later(latest_ms)));
        later(before.unwrap_or_else(|latest_ms| latest_ms))
    }
}

/// One fact. Its serde form is the spool's: a field may be added, never renamed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Fact {
    Audit(AuditRow),
    History(HistoryRow),
    Crash {
        id: String,
        instance: String,
        at_ms: i64,
        evidence: String,
        router_id: String,
        epoch: i64,
    },
    Intention {
        instance: String,
        stopped: bool,
        at_ms: i64,
        router_id: String,
        epoch: i64,
    },
    /// What is kept about the failures of an instance was cleared, up to this moment.
    Cleared {
        instance: String,
        at_ms: i64,
        router_id: String,
        epoch: i64,
    },
}

impl Fact {
    /// Crash evidence.
    pub(crate) fn crash(instance: &str, evidence: &Value, origin: &RowOrigin) -> Self {
        let mut text = evidence.to_string();
        if text.len() > EVIDENCE_BYTES_MAX {
            let kept: String = text.chars().take(EVIDENCE_BYTES_MAX / 4).collect();
            text = serde_json::json!({ "cut": true, "beginning": kept }).to_string();
        }
        Self::Crash {
            id: fresh_id(),
            instance: instance.to_owned(),
            at_ms: origin.ordered_ms(),
            evidence: text,
            router_id: origin.router_id.clone(),
            epoch: origin.epoch,
        }
    }

    /// An operator's decision.
    pub(crate) fn intention(instance: &str, stopped: bool, origin: &RowOrigin) -> Self {
        Self::Intention {
            instance: instance.to_owned(),
            stopped,
            at_ms: origin.ordered_ms(),
            router_id: origin.router_id.clone(),
            epoch: origin.epoch,
        }
    }

    /// An operator's order to forget the failures of an instance.
    pub(crate) fn cleared(instance: &str, origin: &RowOrigin) -> Self {
        Self::Cleared {
            instance: instance.to_owned(),
            at_ms: origin.ordered_ms(),
            router_id: origin.router_id.clone(),
            epoch: origin.epoch,
        }
    }

    /// The statements that keep this one fact.
    pub(crate) fn calls(&self) -> Vec<Call> {
        match self {
            Self::Audit(row) => vec![audit_insert(&[row])],
            Self::History(row) => vec![history_insert(&[row])],
            Self::Crash {
                id,
                instance,
                at_ms,
                evidence,
                router_id,
                epoch,
            } => vec![
                Call::new(
                    CRASH_INSERT,
                    args![
                        id.as_str(),
                        instance.as_str(),
                        *at_ms,
                        evidence.as_str(),
                        router_id.as_str(),
                        *epoch
                    ],
                ),
                Call::new(
                    CRASH_TRIM,
                    args![instance.as_str(), CRASHES_PER_INSTANCE_MAX],
                ),
            ],
            Self::Intention {
                instance,
                stopped,
                at_ms,
                router_id,
                epoch,
            } => vec![Call::new(
                INTENTION_SET,
                args![
                    instance.as_str(),
                    *stopped,
                    *at_ms,
                    router_id.as_str(),
                    *epoch
                ],
            )],
            // Evidence written before it went the same way before it.
            Self::Cleared {
                instance,
                at_ms,
                router_id,
                epoch,
            } => vec![Call::new(
                CRASH_CLEAR,
                args![instance.as_str(), *at_ms, router_id.as_str(), *epoch],
            )],
        }
    }

    /// About how many bytes it takes, in memory as on disk.
    pub(crate) fn size(&self) -> usize {
        /// Names, numbers and punctuation.
        const REST: usize = 256;
        REST + match self {
            Self::Audit(row) => {
                let texts = [&row.actor, &row.role, &row.action, &row.target, &row.detail];
                texts.into_iter().map(String::len).sum()
            }
            Self::History(row) => {
                let names = [&row.axis, &row.instance, &row.subject, &row.from, &row.to];
                let texts = names.into_iter().chain([&row.reason, &row.detail]);
                texts.map(String::len).sum()
            }
            Self::Crash { evidence, .. } => evidence.len(),
            Self::Intention { .. } | Self::Cleared { .. } => 0,
        }
    }

    /// The fact as one line of the spool, its newline included.
    pub(crate) fn write_line(&self, into: &mut Vec<u8>) {
        serde_json::to_writer(&mut *into, self)
            .expect("a fact holds only texts and numbers, and memory does not refuse bytes");
        into.push(b'\n');
    }
}

/// Gives a row its id, its moment and its router, and bounds its texts.
pub(crate) fn stamped(row: AuditRow, origin: &RowOrigin) -> AuditRow {
    AuditRow {
        id: fresh_id(),
        at_ms: now_ms(),
        actor: clean(row.actor, NAME_CHARS_MAX),
        role: clean(row.role, NAME_CHARS_MAX),
        action: clean(row.action, NAME_CHARS_MAX),
        target: clean(row.target, NAME_CHARS_MAX),
        result: clean(row.result, NAME_CHARS_MAX),
        detail: clean(row.detail, DETAIL_CHARS_MAX),
        router_id: origin.router_id.clone(),
        epoch: origin.epoch,
        ..row
    }
}

/// Gives a row its id, its moment, its number and its router, and bounds its texts.
pub(crate) fn happened(row: HistoryRow, origin: &RowOrigin) -> HistoryRow {
    HistoryRow {
        id: fresh_id(),
        at_ms: now_ms(),
        axis: clean(row.axis, NAME_CHARS_MAX),
        instance: clean(row.instance, NAME_CHARS_MAX),
        subject: clean(row.subject, NAME_CHARS_MAX),
        from: clean(row.from, NAME_CHARS_MAX),
        to: clean(row.to, NAME_CHARS_MAX),
        reason: clean(row.reason, DETAIL_CHARS_MAX),
        detail: clean(row.detail, DETAIL_CHARS_MAX),
        router_id: origin.router_id.clone(),
        epoch: origin.epoch,
        sequence: origin.happened.fetch_add(1, Relaxed) + 1,
        ..row
    }
}

/// Keeps rows of the history, in their order.
pub(crate) fn history_insert(rows: &[&HistoryRow]) -> Call {
    let rows = serde_json::to_string(rows).expect("a row holds only texts and numbers");
    Call::new(HISTORY_INSERT, args![rows])
}

/// Keeps audit rows, in their order.
pub(crate) fn audit_insert(rows: &[&AuditRow]) -> Call {
    let rows = serde_json::to_string(rows).expect("a row holds only texts and numbers");
    Call::new(AUDIT_INSERT, args![rows])
}

/// An id that no other row of any router has.
fn fresh_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// A text that every database takes: Postgres keeps no NUL. Cut to a bound.
pub(crate) fn clean(text: String, chars_max: usize) -> String {
    let fits = text.len() <= chars_max || text.chars().nth(chars_max).is_none();
    if fits && !text.contains('\0') {
        return text;
    }
    text.chars()
        .take(chars_max)
        .map(|c| if c == '\0' { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use router_values::AuditRow;
    use serde_json::json;

    use super::{EVIDENCE_BYTES_MAX, Fact, RowOrigin, clean, stamped};

    fn origin() -> RowOrigin {
        RowOrigin::new("r", 7)
    }

    #[test]
    fn texts_are_cut_and_hold_no_nul() {
        assert_eq!(clean("a\0b".into(), 10), "a\u{fffd}b");
        assert_eq!(clean("äöü".into(), 2), "äö");
        assert_eq!(clean("äöü".into(), 3), "äöü");
    }

    #[test]
    fn a_line_of_the_spool_reads_back_as_the_same_fact() {
        let row = AuditRow {
            actor: "a\nb\u{2028}\"".into(),
            from_address: "127.0.0.1:1".into(),
            ..AuditRow::default()
        };
        let facts = [
            Fact::Audit(stamped(row, &origin())),
            Fact::crash("demo", &json!({"stderr": ["x\u{0}"]}), &origin()),
            Fact::intention("demo", true, &origin()),
            Fact::cleared("demo", &origin()),
        ];
        for fact in facts {
            let mut line = Vec::new();
            fact.write_line(&mut line);
            assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
            assert_eq!(serde_json::from_slice::<Fact>(&line).unwrap(), fact);
        }
    }

    #[test]
    fn no_two_moments_of_a_life_are_one() {
        let origin = origin();
        let moments: Vec<i64> = (0..1_000).map(|_| origin.ordered_ms()).collect();
        assert!(moments.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn large_evidence_is_replaced_by_its_beginning() {
        let huge = json!({ "stderr": "\u{1}".repeat(3 * EVIDENCE_BYTES_MAX) });
        let Fact::Crash { evidence, .. } = Fact::crash("demo", &huge, &origin()) else {
            panic!("not a crash");
        };
        assert!(evidence.len() <= EVIDENCE_BYTES_MAX, "{}", evidence.len());
        assert!(evidence.contains("\"cut\":true"));
    }
}
