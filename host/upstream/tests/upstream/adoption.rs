//! Taking over an instance from an earlier router, in the middle of whatever that one was doing.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use serde_json::json;

use crate::peer::{Client, config, open, ready};

const SECOND: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_half_written_line_is_ended_and_a_half_read_one_is_dropped() {
    let (upstream, _connection, mut peer) = ready(config());
    // The end of an answer whose beginning an earlier router had read.
    peer.send_raw(b"me\":\"x\"}]}}\n").await;
    let asking = upstream.clone();
    let resync = tokio::spawn(async move { asking.resync(SECOND).await });
    assert_eq!(
        peer.next_line().await,
        "",
        "whatever stands in the pipe is ended first"
    );
    let ping = peer.expect("ping").await;
    // What an instance may say to the broken line, and to requests of the earlier router.
    peer.send(
        json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "Parse error"}}),
    )
    .await;
    peer.send(json!({"jsonrpc": "2.0", "id": 12_345_678_901_234_u64, "result": {}}))
        .await;
    peer.answer(&ping, json!({})).await;
    resync.await.unwrap().unwrap();
    let counters = upstream.counters();
    assert_eq!(counters.unknown_replies.load(Relaxed), 2);
    assert_eq!(counters.refused_lines.load(Relaxed), 0);
    let mut client = Client::attach(&upstream);
    client.request(1, "tools/call", json!({}));
    let request = peer.next().await;
    peer.answer(&request, json!({})).await;
    client.answer().await;
}

#[tokio::test]
async fn a_first_line_that_is_a_message_is_kept() {
    let (upstream, _connection, mut peer) = ready(config());
    let mut client = Client::attach(&upstream);
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    peer.send(changed.clone()).await;
    assert_eq!(client.next().await, crate::peer::Got::Session(changed));
    // Only the first line is forgiven.
    peer.send_raw(b"nonsense\n").await;
    peer.expect_nothing().await;
    assert_eq!(upstream.counters().refused_lines.load(Relaxed), 1);
}

#[tokio::test]
async fn an_answer_that_was_half_read_is_lost_but_not_the_next_one() {
    let (upstream, connection, mut peer) = open(config());
    // All of this is there before the new router reads.
    peer.send_raw(
        b"\"result\":{}}\n{\"jsonrpc\":\"2.0\",\"id\":\"probe-old\",\"method\":\"ping\"}\n",
    )
    .await;
    let blob = json!({"layout": 1, "tools": ["a"], "result": r#"{"protocolVersion":"2025-11-25","capabilities":{}}"#});
    upstream.adopt(router_upstream::Handshake::from_blob(blob.to_string().as_bytes()).unwrap());
    tokio::spawn(connection);
    assert_eq!(
        peer.next().await,
        json!({"jsonrpc": "2.0", "id": "probe-old", "result": {}})
    );
    assert_eq!(upstream.described().unwrap().tools(), ["a"]);
}
