//! `GET /api/history`: what happened, newest first, from the record that `/api/events` also resumes from.

use std::{sync::Arc, time::SystemTime};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use router_values::{
    HistoryQuery, HistoryRow, parse_duration, parse_rfc3339_ms, rfc3339_unix_ms, unix_ms, whole_ms,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Operations, Problem};

/// The query of `GET /api/history`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct HistoryPage {
    before: Option<i64>,
    limit: Option<u32>,
    since: Option<String>,
    instance: Option<String>,
    axis: Option<String>,
}

/// `GET /api/history?since=&instance=&axis=&before=&limit=`: newest first; `next` is the `before` of the next page.
pub(crate) async fn page<O: Operations>(
    State(operations): State<Arc<O>>,
    query: Result<Query<HistoryPage>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(page) = query?;
    let since_ms = page.since.as_deref().map(moment_ms).transpose()?;
    let query = HistoryQuery {
        before: page.before,
        limit: page.limit,
        instance: page.instance,
        axis: page.axis,
        since_ms,
    };
    let rows_max = usize::try_from(query.rows_max()).unwrap_or(usize::MAX);
    let rows = operations.history_page(query).await?;
    let is_full = rows.len() >= rows_max;
    let next = rows.last().filter(|_| is_full).map(|row| row.seq);
    let rows: Vec<Value> = rows.iter().map(numbered).collect();
    Ok(Json(json!({ "rows": rows, "next": next })).into_response())
}

/// What happened, as an event has it.
pub(crate) fn to_json(row: &HistoryRow) -> Value {
    fn text(text: &str) -> Option<&str> {
        (!text.is_empty()).then_some(text)
    }
    let subject_of = |axis: &str| text(&row.subject).filter(|_| row.axis == axis);
    json!({
        "at": rfc3339_unix_ms(row.at_ms),
        "versionId": text(&row.instance),
        "slot": row.slot,
        "tool": subject_of("breaker"),
        "plugin": subject_of("plugin"),
        "alert": subject_of("alert"),
        "sink": subject_of("delivery"),
        "run": row.run,
        "axis": row.axis,
        "from": text(&row.from),
        "to": row.to,
        "reason": row.reason,
        "detail": text(&row.detail),
    })
}

/// With where it stands among the events, and which router saw it.
fn numbered(row: &HistoryRow) -> Value {
    let mut value = to_json(row);
    value["id"] = row.position().to_string().into();
    value["seq"] = row.seq.into();
    value["routerId"] = row.router_id.as_str().into();
    value
}

/// A time, or how long ago: `15m`, `2h`, `7d`.
fn moment_ms(text: &str) -> Result<i64, Problem> {
    let ago = || Some(now_ms() - i64::try_from(whole_ms(parse_duration(text)?)).ok()?);
    parse_rfc3339_ms(text).or_else(ago).ok_or_else(|| {
        Problem::bad_request(format!(
            "since is neither a time in UTC, such as 2026-01-02T03:04:05Z, nor how long ago, such as 90s, 15m, 2h or 7d: {}",
            router_values::quoted(text)
        ))
    })
}

fn now_ms() -> i64 {
    unix_ms(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::moment_ms;

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        let now_ms = super::now_ms();
        let ago = |text: &str| now_ms - moment_ms(text).unwrap_or_else(|_| panic!("{text}"));
        for (text, ms) in [
            ("0s", 0),
            ("90s", 90_000),
            ("15m", 900_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
        ] {
            assert!((ms - 5_000..=ms).contains(&ago(text)), "{text}");
        }
        assert_eq!(moment_ms("1970-01-02T00:00:00Z").ok(), Some(86_400_000));
        for wrong in [
            "",
            "m",
            "5",
            "-5m",
            "5 m",
            "5w",
            "yesterday",
            "5ä",
            "2026-01-02",
        ] {
            assert!(moment_ms(wrong).is_err(), "{wrong}");
        }
    }
}
