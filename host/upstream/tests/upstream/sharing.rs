//! What sessions that share an instance notice of each other's requests: log levels, subscriptions, lists.

use std::sync::Arc;

use router_upstream::SessionMemory;
use serde_json::{Value, json};

use crate::peer::{Client, Got, Peer, all_capabilities, config, ready};

fn log(level: &str) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": level, "data": level}})
}

fn updated(uri: &str) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}})
}

/// Everything that the instance has said up to now has been dealt with once it gets this answer.
async fn settle(peer: &mut Peer) {
    peer.expect_nothing().await;
}

async fn set_level(client: &mut Client, peer: &mut Peer, level: &str, sent: &str) {
    client.request(99, "logging/setLevel", json!({"level": level}));
    let request = peer.expect("logging/setLevel").await;
    assert_eq!(request["params"], json!({"level": sent}));
    peer.answer(&request, json!({})).await;
    assert_eq!(client.answer().await["id"], 99);
}

fn levels(client: &mut Client) -> Vec<String> {
    let heard = client.pending();
    let level = |got| match got {
        Got::Session(message) => message["params"]["level"].as_str().unwrap().to_owned(),
        got => panic!("{got:?}"),
    };
    heard.into_iter().map(level).collect()
}

#[tokio::test]
async fn the_lowest_level_asked_for_is_sent_and_each_session_gets_its_own() {
    let (upstream, _connection, mut peer) = ready(config());
    let (mut a, mut b, mut c) = (
        Client::attach(&upstream),
        Client::attach(&upstream),
        Client::attach(&upstream),
    );
    peer.send(log("debug")).await;
    settle(&mut peer).await;
    for client in [&mut a, &mut b, &mut c] {
        assert_eq!(
            levels(client),
            ["debug"],
            "no session asked, so all get everything"
        );
    }
    set_level(&mut a, &mut peer, "error", "error").await;
    set_level(&mut b, &mut peer, "debug", "debug").await;
    set_level(&mut a, &mut peer, "warning", "debug").await;
    for level in ["debug", "info", "warning", "error", "emergency", "no-level"] {
        peer.send(log(level)).await;
    }
    settle(&mut peer).await;
    assert_eq!(
        levels(&mut a),
        ["warning", "error", "emergency", "no-level"]
    );
    assert_eq!(
        levels(&mut b),
        ["debug", "info", "warning", "error", "emergency", "no-level"]
    );
    assert_eq!(
        levels(&mut c),
        ["info", "warning", "error", "emergency", "no-level"]
    );
    upstream.detach(b.key);
    let raised = peer.expect("logging/setLevel").await;
    assert_eq!(raised["params"], json!({"level": "warning"}));
    peer.answer(&raised, json!({})).await;
}

#[tokio::test]
async fn a_level_that_is_none_is_for_the_instance_to_refuse() {
    let (upstream, _connection, mut peer) = ready(config());
    let mut client = Client::attach(&upstream);
    client.request(1, "logging/setLevel", json!({"level": "loud"}));
    let request = peer.expect("logging/setLevel").await;
    assert_eq!(request["params"], json!({"level": "loud"}));
    peer.send(
        json!({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32602, "message": "no"}}),
    )
    .await;
    assert_eq!(client.answer().await["error"]["code"], -32602);
    assert_eq!(client.memory.level(), None);
}

#[tokio::test]
async fn logs_during_work_go_through_the_request() {
    let (upstream, _connection, mut peer) = ready(config());
    let (mut busy, mut idle) = (Client::attach(&upstream), Client::attach(&upstream));
    busy.request(5, "tools/call", json!({}));
    let request = peer.next().await;
    peer.send(log("info")).await;
    peer.answer(&request, json!({})).await;
    assert_eq!(busy.next().await, Got::Through("5".into(), log("info")));
    assert_eq!(busy.answer().await["id"], 5);
    assert_eq!(idle.next().await, Got::Session(log("info")));
}

#[tokio::test]
async fn subscriptions_are_counted_and_updates_reach_subscribers() {
    let (upstream, _connection, mut peer) = ready(config());
    let (mut a, mut b, mut c) = (
        Client::attach(&upstream),
        Client::attach(&upstream),
        Client::attach(&upstream),
    );
    let uri = json!({"uri": "file:///x"});
    a.request(1, "resources/subscribe", uri.clone());
    let request = peer.expect("resources/subscribe").await;
    peer.answer(&request, json!({})).await;
    a.answer().await;
    // The second subscriber costs the instance nothing.
    b.request(1, "resources/subscribe", uri.clone());
    assert_eq!(
        b.answer().await,
        json!({"jsonrpc": "2.0", "id": 1, "result": {}})
    );
    peer.send(updated("file:///x")).await;
    peer.send(updated("file:///other")).await;
    settle(&mut peer).await;
    assert_eq!(a.pending(), [Got::Session(updated("file:///x"))]);
    assert_eq!(b.pending(), [Got::Session(updated("file:///x"))]);
    assert_eq!(c.pending(), []);
    // One that never subscribed cannot take it away from the others.
    c.request(2, "resources/unsubscribe", uri.clone());
    assert_eq!(c.answer().await["result"], json!({}));
    a.request(2, "resources/unsubscribe", uri.clone());
    assert_eq!(a.answer().await["result"], json!({}));
    settle(&mut peer).await;
    peer.send(updated("file:///x")).await;
    settle(&mut peer).await;
    assert_eq!(a.pending(), []);
    assert_eq!(b.pending(), [Got::Session(updated("file:///x"))]);
    // The last one's end gives it up.
    upstream.detach(b.key);
    let given_up = peer.expect("resources/unsubscribe").await;
    assert_eq!(given_up["params"], uri);
    c.request(3, "resources/subscribe", uri);
    peer.expect("resources/subscribe").await;
}

#[tokio::test]
async fn a_refused_subscription_is_none() {
    let (upstream, _connection, mut peer) = ready(config());
    let mut client = Client::attach(&upstream);
    client.request(1, "resources/subscribe", json!({"uri": "file:///secret"}));
    let request = peer.next().await;
    peer.send(
        json!({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32002, "message": "no"}}),
    )
    .await;
    assert_eq!(client.answer().await["error"]["code"], -32002);
    peer.send(updated("file:///secret")).await;
    settle(&mut peer).await;
    assert_eq!(client.pending(), []);
    assert!(client.memory.is_empty());
}

#[tokio::test]
async fn a_resource_that_is_too_long_to_be_remembered_is_refused() {
    let (upstream, _connection, mut peer) = ready(config());
    let client = Client::attach(&upstream);
    let uri = "x".repeat(10_000);
    let request =
        json!({"jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": {"uri": uri}});
    let refused = client.call(request).unwrap_err();
    assert!(refused.to_string().contains("longer than 8192 bytes"));
    peer.expect_nothing().await;
}

#[tokio::test]
async fn what_a_session_asked_for_is_repeated_to_the_next_run() {
    let memory = Arc::new(SessionMemory::default());
    let uri = json!({"uri": "file:///x"});
    {
        let (upstream, _connection, mut peer) = ready(config());
        let mut client = Client::attach_with(&upstream, all_capabilities(), false, memory.clone());
        client.request(1, "resources/subscribe", uri.clone());
        let request = peer.next().await;
        peer.answer(&request, json!({})).await;
        client.answer().await;
        set_level(&mut client, &mut peer, "notice", "notice").await;
    }
    let (upstream, _connection, mut peer) = ready(config());
    let mut client = Client::attach_with(&upstream, all_capabilities(), false, memory);
    assert_eq!(peer.expect("resources/subscribe").await["params"], uri);
    assert_eq!(
        peer.expect("logging/setLevel").await["params"],
        json!({"level": "notice"})
    );
    peer.send(updated("file:///x")).await;
    assert_eq!(client.next().await, Got::Session(updated("file:///x")));
}

#[tokio::test]
async fn a_session_of_an_earlier_router_gets_what_it_may_have_subscribed_to() {
    let (upstream, _connection, mut peer) = ready(config());
    let mut inherited = Client::attach_with(&upstream, all_capabilities(), true, Arc::default());
    let mut fresh = Client::attach(&upstream);
    peer.send(updated("file:///x")).await;
    settle(&mut peer).await;
    assert_eq!(inherited.pending(), [Got::Session(updated("file:///x"))]);
    assert_eq!(fresh.pending(), []);
}

#[tokio::test]
async fn changed_lists_are_announced_to_all() {
    let (upstream, _connection, mut peer) = ready(config());
    let (mut a, mut b) = (Client::attach(&upstream), Client::attach(&upstream));
    a.request(1, "tools/call", json!({}));
    peer.next().await;
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    peer.send(changed.clone()).await;
    assert_eq!(
        a.next().await,
        Got::Session(changed.clone()),
        "it is not about the request"
    );
    assert_eq!(b.next().await, Got::Session(changed));
}

#[tokio::test]
async fn lists_are_cached_only_where_wanted_and_until_they_change() {
    let (upstream, _connection, mut peer) = ready(config());
    let mut client = Client::attach(&upstream);
    let tools = json!({"tools": [{"name": "a"}]});
    let mut ask = async |upstream_answers: Option<&Value>, id: u32| {
        client.request(id, "tools/list", json!({}));
        if let Some(result) = upstream_answers {
            let request = peer.expect("tools/list").await;
            peer.answer(&request, result.clone()).await;
        }
        let answer = client.answer().await;
        assert_eq!(answer["id"], id);
        answer["result"].clone()
    };
    assert_eq!(ask(Some(&tools), 1).await, tools);
    assert_eq!(ask(Some(&tools), 2).await, tools, "off by default");
    upstream.set_cache_ttl(std::time::Duration::from_secs(60));
    assert_eq!(ask(Some(&tools), 3).await, tools);
    assert_eq!(ask(None, 4).await, tools);
    peer.send(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}))
        .await;
    assert!(matches!(client.next().await, Got::Session(_)));
    let fewer = json!({"tools": []});
    client.request(5, "tools/list", json!({}));
    let request = peer.expect("tools/list").await;
    peer.answer(&request, fewer.clone()).await;
    assert_eq!(client.answer().await["result"], fewer);
}
