//! Handshake, tools, pings, draining, closing, and the end of the process, real ones among them.

use std::{
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use router_upstream::{Closed, IgnoreEvents, OwnCallError, ProtocolVersion, Upstream};
use serde_json::json;

use crate::peer::{Client, config, open, ready, soon};

const SECOND: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_handshake_is_answered_and_kept() {
    let (upstream, connection, mut peer) = open(config());
    tokio::spawn(connection);
    let asking = upstream.clone();
    let handshake = tokio::spawn(async move { asking.handshake(SECOND).await });
    let request = peer.expect("initialize").await;
    assert_eq!(request["params"]["protocolVersion"], "2025-11-25");
    assert_eq!(
        request["params"]["capabilities"]["roots"],
        json!({"listChanged": true})
    );
    assert!(request["params"]["capabilities"]["sampling"].is_object());
    assert!(request["params"]["capabilities"]["elicitation"].is_object());
    peer.answer(
        &request,
        json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}),
    )
    .await;
    peer.expect("notifications/initialized").await;
    let handshake = handshake.await.unwrap().unwrap();
    assert_eq!(handshake.protocol_version(), ProtocolVersion::V2025_06_18);

    let asking = upstream.clone();
    let tools = tokio::spawn(async move { asking.tools(SECOND).await });
    let first = peer.expect("tools/list").await;
    peer.answer(
        &first,
        json!({"tools": [{"name": "a", "inputSchema": {}}, {"name": "b"}], "nextCursor": "p\"2"}),
    )
    .await;
    let second = peer.expect("tools/list").await;
    assert_eq!(second["params"], json!({"cursor": "p\"2"}));
    peer.answer(&second, json!({"tools": [{"name": "c"}]}))
        .await;
    assert_eq!(tools.await.unwrap().unwrap(), ["a", "b", "c"]);
    assert_eq!(upstream.in_flight(), 0);
}

#[tokio::test]
async fn handshakes_that_fail_say_how() {
    let cases = [
        (
            json!({"error": {"code": -32000, "message": "no licence"}}),
            "no licence",
        ),
        (
            json!({"result": {"protocolVersion": "2031-01-01"}}),
            "2031-01-01",
        ),
        (json!({"result": {}}), "protocolVersion"),
    ];
    for (answer, text) in cases {
        let (upstream, connection, mut peer) = open(config());
        tokio::spawn(connection);
        let asking = tokio::spawn(async move { upstream.handshake(SECOND).await });
        let request = peer.next().await;
        let mut message = answer;
        message["jsonrpc"] = json!("2.0");
        message["id"] = request["id"].clone();
        peer.send(message).await;
        let error = asking.await.unwrap().unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert!(error.to_string().contains("demo"), "{error}");
    }
    let (upstream, connection, _peer) = open(config());
    tokio::spawn(connection);
    let error = upstream
        .handshake(Duration::from_millis(30))
        .await
        .unwrap_err();
    assert!(matches!(error, OwnCallError::Unanswered { .. }), "{error}");
}

#[tokio::test]
async fn endless_tool_lists_end() {
    let mut config = config();
    config.limits.tool_pages_max = 3;
    let (upstream, _connection, mut peer) = ready(config);
    let asking = tokio::spawn(async move { upstream.tools(SECOND).await });
    for _ in 0..3 {
        let request = peer.expect("tools/list").await;
        peer.answer(&request, json!({"tools": [], "nextCursor": "again"}))
            .await;
    }
    let error = asking.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("more than 3 pages"), "{error}");
}

#[tokio::test]
async fn any_answer_to_a_ping_counts() {
    let (upstream, _connection, mut peer) = ready(config());
    for answer in [
        json!({"result": {}}),
        json!({"error": {"code": -32601, "message": "what?"}}),
    ] {
        let asking = upstream.clone();
        let ping = tokio::spawn(async move { asking.ping(SECOND).await });
        let mut message = answer;
        message["id"] = peer.expect("ping").await["id"].clone();
        message["jsonrpc"] = json!("2.0");
        peer.send(message).await;
        ping.await.unwrap().unwrap();
    }
    upstream.ping(Duration::from_millis(20)).await.unwrap_err();
}

#[tokio::test]
async fn for_a_breaker_a_server_without_ping_must_answer_its_list() {
    let (upstream, _connection, mut peer) = ready(config());
    let unknown = json!({"error": {"code": -32601, "message": "what?"}});
    let answers = [
        (json!({"result": {}}), None),
        // Any other error is the server's own word.
        (json!({"error": {"code": -32603, "message": "no"}}), None),
        (unknown.clone(), Some(json!({"result": {"tools": []}}))),
        (unknown.clone(), Some(unknown.clone())),
    ];
    for (to_ping, to_list) in answers {
        let asking = upstream.clone();
        let asked = tokio::spawn(async move { asking.ping_or_list(SECOND).await });
        for (method, answer) in [("ping", Some(to_ping)), ("tools/list", to_list)] {
            if let Some(mut message) = answer {
                message["id"] = peer.expect(method).await["id"].clone();
                message["jsonrpc"] = json!("2.0");
                peer.send(message).await;
            }
        }
        asked.await.unwrap().unwrap();
    }
    let asking = upstream.clone();
    let asked = tokio::spawn(async move { asking.ping_or_list(SECOND / 10).await });
    let mut message = unknown;
    message["id"] = peer.expect("ping").await["id"].clone();
    message["jsonrpc"] = json!("2.0");
    peer.send(message).await;
    peer.expect("tools/list").await;
    asked.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn draining_waits_for_what_is_in_flight_and_takes_nothing_new() {
    let (upstream, _connection, mut peer) = ready(config());
    let mut client = Client::attach(&upstream);
    client.request(1, "tools/call", json!({"name": "render"}));
    let request = peer.next().await;
    let in_flight = upstream.methods_in_flight();
    assert_eq!(in_flight.len(), 1);
    assert_eq!(in_flight[0].what, "tools/call render");
    assert!(
        !upstream.drain(Duration::from_millis(20)).await,
        "nothing was answered"
    );
    assert!(
        client
            .call(json!({"jsonrpc": "2.0", "id": 2, "method": "ping"}))
            .unwrap_err()
            .to_string()
            .contains("draining")
    );
    let draining = upstream.clone();
    let drained = tokio::spawn(async move { draining.drain(SECOND).await });
    peer.answer(&request, json!({})).await;
    assert!(drained.await.unwrap());
    assert_eq!(client.answer().await["id"], 1);
}

#[tokio::test]
async fn waiting_requests_fail_at_once_when_the_instance_goes() {
    let (upstream, connection, mut peer) = ready(config());
    let mut clients: Vec<Client> = (0..8).map(|_| Client::attach(&upstream)).collect();
    for client in &clients {
        client.request(1, "tools/call", json!({}));
    }
    let request = peer.next().await;
    // What it wrote last is read.
    peer.answer(&request, json!({"last": true})).await;
    peer.close_output();
    assert!(matches!(
        *soon("the end", connection).await.unwrap(),
        Closed::Eof
    ));
    assert_eq!(clients[0].answer().await["result"], json!({"last": true}));
    for client in &mut clients[1..] {
        assert!(client.failure().await.contains("went away"));
        assert!(
            client
                .call(json!({"jsonrpc": "2.0", "id": 2, "method": "ping"}))
                .is_err()
        );
    }
    assert_eq!((upstream.in_flight(), upstream.session_count()), (0, 0));
    upstream.ping(SECOND).await.unwrap_err();
}

#[tokio::test]
async fn closing_and_dropping_end_a_connection_alike() {
    for is_dropped in [false, true] {
        let (upstream, connection, mut peer) = ready(config());
        let mut client = Client::attach(&upstream);
        client.request(1, "tools/call", json!({}));
        peer.next().await;
        if is_dropped {
            connection.abort();
        } else {
            upstream.close();
        }
        assert!(client.failure().await.contains("router closed"));
    }
}

#[tokio::test]
async fn the_end_of_a_process_fails_requests_also_where_its_output_stays_open() {
    let (upstream, connection, mut peer) = ready(config());
    let mut client = Client::attach(&upstream);
    client.request(1, "tools/call", json!({}));
    client.request(2, "tools/call", json!({}));
    let request = peer.next().await;
    // What it wrote last is read, and nothing is sent to it any more.
    peer.answer(&request, json!({"last": true})).await;
    upstream.close_died();
    let refused = client.call(json!({"jsonrpc": "2.0", "id": 3, "method": "ping"}));
    assert!(refused.unwrap_err().to_string().contains("draining"));
    assert_eq!(client.answer().await["result"], json!({"last": true}));
    assert!(client.failure().await.contains("its process ended"));
    let closed = soon("the end", connection).await.unwrap();
    assert!(matches!(*closed, Closed::Died), "{closed}");
}

/// Answers every request, in `sed`: a real process with real pipes.
fn echoing_process() -> std::process::Child {
    Command::new("sed")
        .args([
            "-u",
            "-E",
            r#"s/.*"id":([0-9]+).*/{"jsonrpc":"2.0","id":\1,"result":{"pid":"sed"}}/"#,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn a_real_process_is_spoken_to_over_its_pipes() {
    let mut child = echoing_process();
    let stdin = OwnedFd::from(child.stdin.take().unwrap());
    let stdout = OwnedFd::from(child.stdout.take().unwrap());
    let (upstream, connection) =
        Upstream::open_pipes(config(), stdin, stdout, Arc::new(IgnoreEvents)).unwrap();
    let connection = tokio::spawn(connection);
    let mut client = Client::attach(&upstream);
    for id in 0..2000 {
        client.request(id, "tools/call", json!({"text": "x".repeat(100)}));
        if id % 100 == 99 {
            for expected in id - 99..=id {
                assert_eq!(client.answer().await["id"], expected);
            }
        }
    }
    client.request("last", "tools/call", json!({}));
    client.answer().await;
    child.kill().unwrap();
    child.wait().unwrap();
    let closed = soon("the end of the connection", connection).await.unwrap();
    assert!(matches!(*closed, Closed::Eof), "{closed}");
}

#[tokio::test]
async fn a_listening_instance_is_reached_once_it_listens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("late.sock");
    let error = Upstream::connect(
        config(),
        &path,
        Duration::from_millis(60),
        Arc::new(IgnoreEvents),
    )
    .await
    .err()
    .unwrap();
    assert!(error.to_string().contains("late.sock"), "{error}");
    let listening = path.clone();
    let server = tokio::spawn(async move {
        let listener = tokio::net::UnixListener::bind(listening).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (reader, mut writer) = stream.into_split();
        let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(reader));
        let request: serde_json::Value =
            serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        let answer = format!(
            "{}\n",
            json!({"jsonrpc": "2.0", "id": request["id"], "result": {}})
        );
        tokio::io::AsyncWriteExt::write_all(&mut writer, answer.as_bytes())
            .await
            .unwrap();
    });
    let (upstream, connection) = Upstream::connect(config(), &path, SECOND, Arc::new(IgnoreEvents))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    upstream.ping(SECOND).await.unwrap();
    server.await.unwrap();
    // Whatever the server's umask left to others is taken away.
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(
        *soon("the end", connection).await.unwrap(),
        Closed::Eof
    ));
}
