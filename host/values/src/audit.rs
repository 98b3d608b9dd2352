//! The audit: who did what, when, from where, with what result.

use serde::{Deserialize, Serialize};

/// One action, done or tried. The caller says what; the store adds the id, the moment and the router, and the
/// database the number. Its serde form is the one on disk and in statements: a field may be added, never renamed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRow {
    /// Its number in the database: later rows have larger ones. What [`AuditQuery::before`] takes.
    #[serde(skip)]
    pub seq: i64,
    /// Unique over all routers.
    pub id: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Who: a token's name, `loopback`, or `router` for what the router did by itself.
    pub actor: String,
    /// In which role.
    pub role: String,
    /// What, in a dotted name: `instance.restart`.
    pub action: String,
    /// To what: an instance, a plugin, a file; empty for the router itself.
    pub target: String,
    /// From where; empty where there was no address.
    pub from_address: String,
    /// `ok`, `refused` or `failed`.
    pub result: String,
    /// More for people.
    pub detail: String,
    /// Which router wrote it.
    pub router_id: String,
    /// In which life of that router.
    pub epoch: i64,
}

impl AuditRow {
    /// What the router did by itself.
    #[must_use]
    pub fn by_router(action: &str, target: &str, result: &str, detail: impl Into<String>) -> Self {
        Self {
            actor: "router".to_owned(),
            role: "router".to_owned(),
            action: action.to_owned(),
            target: target.to_owned(),
            result: result.to_owned(),
            detail: detail.into(),
            ..Self::default()
        }
    }

    /// The instance that it is about, where it is about one.
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        let is_about_one = ["instance.", "breaker."]
            .iter()
            .any(|kind| self.action.starts_with(kind));
        (is_about_one && !self.target.is_empty()).then_some(self.target.as_str())
    }
}

/// Which rows to read, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Only rows whose `seq` is smaller.
    pub before: Option<i64>,
    /// At most so many; see [`AuditQuery::rows_max`].
    pub limit: Option<u32>,
    /// Only of this actor.
    pub actor: Option<String>,
    /// Only this action.
    pub action: Option<String>,
    /// Only on this target.
    pub target: Option<String>,
    /// Only rows at or after this, in milliseconds since 1970.
    pub since_ms: Option<i64>,
}

impl AuditQuery {
    /// Rows of a full page: as many as were asked for, from 1 to 1,000, and 100 where no number was given.
    #[must_use]
    pub fn rows_max(&self) -> u32 {
        self.limit.unwrap_or(100).clamp(1, 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::{AuditQuery, AuditRow};

    #[test]
    fn a_row_is_about_an_instance_where_its_action_is() {
        for (action, target, instance) in [
            ("instance.restart", "demo", Some("demo")),
            ("breaker.reset", "demo", Some("demo")),
            ("instance.restart", "", None),
            ("plugin.swap", "demo", None),
        ] {
            let row = AuditRow::by_router(action, target, "ok", "");
            assert_eq!(row.instance(), instance, "{action}");
        }
    }

    #[test]
    fn pages_are_bounded() {
        let of = |limit| AuditQuery {
            limit,
            ..AuditQuery::default()
        };
        let rows = [None, Some(0), Some(7), Some(5_000)].map(|limit| of(limit).rows_max());
        assert_eq!(rows, [100, 1, 7, 1_000]);
    }

    /// A spool of an earlier version is read, and what it wrote means the same.
    #[test]
    fn the_form_on_disk_stays() {
        let text = r#"{"id":"1f","at_ms":5,"actor":"alice","role":"operator","action":"instance.stop","target":"demo","from_address":"[::1]:1","result":"ok","detail":"d","router_id":"r","epoch":7}"#;
        let row: AuditRow = serde_json::from_str(text).unwrap();
        assert_eq!((row.seq, row.at_ms, row.epoch), (0, 5, 7));
        assert_eq!(serde_json::to_string(&row).unwrap(), text);
    }
}
