//! `GET /api/events`: everything that happens as server-sent events (WHATWG HTML, section 9.2), from where a listener left off.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::HeaderMap,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::stream;
use router_values::{EventPosition, HistoryRow};
use serde_json::json;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{OperationError, Operations, Problem, history};

/// Below the 30 to 60 s after which proxies in between drop a silent connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Rows that are read from the record at once, for a listener that is behind.
const RECORDED_PAGE: u32 = 500;

/// Rows that a listener gets from the record until the rest counts as missed: a day of a fleet in trouble.
const RECORDED_MAX: usize = 10_000;

/// The stream. What a listener missed since the event of its `Last-Event-ID`, or because it fell behind, is read from the record;
/// what that does not have any more, or cannot give, is counted for it in an event `missed`.
pub(crate) async fn stream<O: Operations>(
    State(operations): State<Arc<O>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let live = operations
        .subscribe()
        .ok_or_else(|| OperationError::Unavailable {
            reason: "too many listen to the events already; close one and try again".to_owned(),
            retry_after: None,
        })?;
    let last = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok()?.parse().ok());
    let feed = EventFeed {
        operations,
        live,
        last,
        recorded: VecDeque::new(),
        recorded_count: 0,
        is_behind: last.is_some(),
        held: None,
    };
    let events = stream::unfold(feed, |mut feed| async {
        let event = feed.next().await?;
        Some((Ok::<_, Infallible>(event), feed))
    });
    let events = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(events.into_response())
}

/// What one listener gets, in order and each event once.
struct EventFeed<O> {
    operations: Arc<O>,
    live: Receiver<Arc<HistoryRow>>,
    /// The last event that the listener has.
    last: Option<EventPosition>,
    /// Rows from the record that it gets next.
    recorded: VecDeque<HistoryRow>,
    /// Rows that it got from there since it was last up to date.
    recorded_count: usize,
    /// The record may have more for it.
    is_behind: bool,
    /// The event behind a gap that was just reported.
    held: Option<Arc<HistoryRow>>,
}

impl<O: Operations> EventFeed<O> {
    /// The next event; `None` when the stream is to end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(row) = self.recorded.pop_front() {
                return Some(self.send(&row));
            }
            if let Some(row) = self.held.take() {
                return Some(self.send(&row));
            }
            if self.is_behind {
                self.read_record().await;
                continue;
            }
            match self.live.recv().await {
                Ok(row) => match self.missed_before(&row) {
                    None => {}
                    Some(0) => {
                        self.recorded_count = 0;
                        return Some(self.send(&row));
                    }
                    Some(count) => {
                        self.held = Some(row);
                        return Some(missed(count));
                    }
                },
                Err(RecvError::Lagged(count)) if self.last.is_none() => return Some(missed(count)),
                Err(RecvError::Lagged(_)) => self.is_behind = true,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Events between the last one and this; `None` where the listener has this one already.
    fn missed_before(&self, row: &HistoryRow) -> Option<u64> {
        let Some(last) = self.last else {
            return Some(0);
        };
        if row.epoch < last.epoch {
            // It names an event that this router never had.
            return Some(0);
        }
        if row.position() <= last {
            return None;
        }
        let before = if row.epoch == last.epoch {
            last.sequence
        } else {
            // Of an earlier life nothing is missing that its record had.
            0
        };
        Some(u64::try_from(row.sequence - before - 1).unwrap_or(0))
    }

    async fn read_record(&mut self) {
        self.is_behind = false;
        let Some(last) = self.last else { return };
        if self.recorded_count >= RECORDED_MAX {
            return;
        }
        // Without a database the gap shows at the next event.
        let rows = self.operations.history_after(last, RECORDED_PAGE).await;
        let rows = rows.unwrap_or_default();
        self.is_behind = rows.len() >= RECORDED_PAGE as usize;
        self.recorded_count += rows.len();
        self.recorded = rows.into();
    }

    fn send(&mut self, row: &HistoryRow) -> Event {
        let position = row.position();
        self.last = Some(position);
        Event::default()
            .id(position.to_string())
            .event(row.axis.as_str())
            .data(history::to_json(row).to_string())
    }
}

fn missed(count: u64) -> Event {
    Event::default()
        .event("missed")
        .data(json!({ "missed": count }).to_string())
}
