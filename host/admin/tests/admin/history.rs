//! The history, and the events that are resumed from it.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use http_body_util::BodyExt as _;
use router_admin::router;
use router_values::HistoryRow;
use serde_json::Value;
use tower::ServiceExt as _;

use super::{World, ask};

/// What happened as the how manieth thing in a life of the router.
fn row(epoch: i64, sequence: i64) -> HistoryRow {
    HistoryRow {
        seq: epoch * 1_000 + sequence,
        at_ms: 86_400_000 + sequence,
        axis: "lifecycle".into(),
        instance: "demo".into(),
        slot: Some(0),
        run: Some(3),
        from: "ready".into(),
        to: "draining".into(),
        reason: "the policy strict asked for a recycle".into(),
        router_id: "east-1".into(),
        epoch,
        sequence,
        ..HistoryRow::default()
    }
}

/// A stream of events that is read as far as a test says.
struct Listener {
    body: Body,
    text: String,
}

impl Listener {
    async fn new(world: &Arc<World>, last_event_id: Option<&str>) -> Self {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = "/api/events".parse().unwrap();
        if let Some(id) = last_event_id {
            let id = id.parse().unwrap();
            request.headers_mut().insert("last-event-id", id);
        }
        let response = router(Arc::clone(world)).oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "text/event-stream"
        );
        Self {
            body: response.into_body(),
            text: String::new(),
        }
    }

    /// Reads until an event of this id has come, and gives what came: ids, and how many were missed.
    async fn until(&mut self, id: &str) -> Vec<String> {
        let end = format!("id: {id}\n");
        while !self.text.contains(&end) {
            let frame = self.body.frame().await.unwrap().unwrap();
            let text = std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
            self.text.push_str(text);
        }
        let lines = self.text.lines().filter_map(|line| {
            let id = line.strip_prefix("id: ").map(str::to_owned);
            id.or_else(|| {
                let missed = line.strip_prefix("data: {\"missed\":")?;
                Some(format!("missed {}", missed.trim_end_matches('}')))
            })
        });
        lines.collect()
    }
}

fn announce(world: &World, row: HistoryRow) {
    world.listeners.send(Arc::new(row)).unwrap();
}

fn record(world: &World, rows: impl IntoIterator<Item = HistoryRow>) {
    world.history.lock().as_mut().unwrap().extend(rows);
}

#[tokio::test]
async fn a_listener_hears_what_happens_and_how_much_it_missed_where_nothing_is_recorded() {
    let world = Arc::new(World::new());
    let mut listener = Listener::new(&world, None).await;
    // The channel holds two; of five, three are missed.
    for sequence in 1..=5 {
        announce(&world, row(1, sequence));
    }
    assert_eq!(listener.until("1-5").await, ["missed 3", "1-4", "1-5"]);
    assert!(
        listener.text.contains("event: lifecycle"),
        "{}",
        listener.text
    );
    assert!(
        listener.text.contains(r#""to":"draining""#),
        "{}",
        listener.text
    );
}

#[tokio::test]
async fn a_listener_that_comes_back_gets_what_it_missed_and_each_event_once() {
    let world = Arc::new(World::new());
    record(&world, (1..=4).map(|sequence| row(1, sequence)));
    record(&world, [row(2, 1), row(2, 2)]);
    let mut listener = Listener::new(&world, Some("1-3")).await;
    // It is recorded and announced; the one after it is announced only.
    announce(&world, row(2, 2));
    announce(&world, row(2, 3));
    let got = listener.until("2-3").await;
    assert_eq!(got, ["1-4", "2-1", "2-2", "2-3"]);
}

#[tokio::test]
async fn a_listener_that_falls_behind_gets_the_rest_from_the_record() {
    let world = Arc::new(World::new());
    let mut listener = Listener::new(&world, None).await;
    announce(&world, row(1, 1));
    assert_eq!(listener.until("1-1").await, ["1-1"]);
    for sequence in 2..=1_500 {
        record(&world, [row(1, sequence)]);
        announce(&world, row(1, sequence));
    }
    let got = listener.until("1-1500").await;
    let all: Vec<String> = (1..=1_500)
        .map(|sequence| format!("1-{sequence}"))
        .collect();
    assert_eq!(got, all);
}

#[tokio::test]
async fn what_the_record_cannot_give_is_counted() {
    let world = Arc::new(World::new());
    *world.history.lock() = None;
    let mut listener = Listener::new(&world, Some("1-3")).await;
    announce(&world, row(1, 9));
    assert_eq!(listener.until("1-9").await, ["missed 5", "1-9"]);
    // An id of a router that lived before this one's data was lost hides nothing.
    let mut listener = Listener::new(&world, Some("7-3")).await;
    announce(&world, row(1, 10));
    assert_eq!(listener.until("1-10").await, ["1-10"]);
    // One that is none is as good as none.
    let mut listener = Listener::new(&world, Some("12")).await;
    announce(&world, row(1, 11));
    assert_eq!(listener.until("1-11").await, ["1-11"]);
}

#[tokio::test]
async fn the_history_is_paged_and_filtered() {
    let world = Arc::new(World::new());
    record(&world, (1..=5).map(|sequence| row(1, sequence)));
    record(
        &world,
        [HistoryRow {
            axis: "plugin".into(),
            instance: String::new(),
            slot: None,
            run: None,
            subject: "strict".into(),
            from: String::new(),
            to: "serving".into(),
            ..row(1, 6)
        }],
    );
    let page = async |query: &str| -> Value {
        let answer = ask(&world, "GET", &format!("/api/history{query}"), "").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        serde_json::from_str(&answer.text).unwrap()
    };
    let first = page("?limit=2").await;
    let rows = first["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["plugin"], "strict");
    assert_eq!(rows[0]["versionId"], Value::Null);
    assert_eq!(rows[1]["at"], "1970-01-02T00:00:00.005Z");
    assert_eq!(rows[1]["id"], "1-5");
    assert_eq!(rows[1]["reason"], "the policy strict asked for a recycle");
    let second = page(&format!("?limit=9&before={}", first["next"])).await;
    assert_eq!(second["rows"].as_array().unwrap().len(), 4);
    assert_eq!(second["next"], Value::Null);
    let count = async |query: &str| page(query).await["rows"].as_array().unwrap().len();
    assert_eq!(count("?instance=demo").await, 5);
    assert_eq!(count("?axis=plugin").await, 1);
    assert_eq!(count("?since=1970-01-02T00:00:00.005Z").await, 2);
    assert_eq!(count("?since=1h").await, 0);
    for wrong in ["?since=yesterday", "?sort=up", "?limit=x"] {
        let answer = ask(&world, "GET", &format!("/api/history{wrong}"), "").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    *world.history.lock() = None;
    let answer = ask(&world, "GET", "/api/history", "").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}
