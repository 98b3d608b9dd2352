//! What is not acceptable, and how that is said.

use std::time::Duration;

use reqwest::Method;
use router_core::{ErrorKind, route::Route};
use router_proxy::ProxyLimits;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    client::{soon, whole},
    world::World,
};

#[tokio::test]
async fn headers_must_be_what_the_transport_asks_for() {
    let (world, _instance) = World::ready().await;
    let client = world.client().await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let both = "application/json, text/event-stream";
    let cases = [
        (Some("text/plain"), Some(both), "2025-11-25", 415),
        (None, Some(both), "2025-11-25", 415),
        (
            Some("application/json"),
            Some("application/json"),
            "2025-11-25",
            406,
        ),
        (
            Some("application/json"),
            Some("text/event-stream"),
            "2025-11-25",
            406,
        ),
        (
            Some("application/json"),
            Some("application/json;q=0, */*"),
            "2025-11-25",
            406,
        ),
        (
            Some("application/json"),
            Some("application/json;q=0.5, */*;q=0, text/*"),
            "2025-11-25",
            200,
        ),
        (Some("application/json"), Some(both), "2019-01-01", 400),
        (Some("application/json"), Some("*/*"), "2025-03-26", 200),
        (
            Some("application/json; charset=utf-8"),
            Some(both),
            "2025-11-25",
            200,
        ),
    ];
    for (kind, accept, version, status) in cases {
        let mut request = http
            .post(&client.url)
            .header("mcp-session-id", client.session.clone().unwrap());
        request = request.header("mcp-protocol-version", version);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let answer = whole(request.body(ping.clone()).send().await.unwrap()).await;
        assert_eq!(
            answer.status, status,
            "{kind:?} {accept:?} {version}: {answer:?}"
        );
        assert!(
            status == 200 || answer.body["error"]["code"].is_i64(),
            "{answer:?}"
        );
    }
    let get = http
        .get(&client.url)
        .header("accept", "application/json")
        .send()
        .await
        .unwrap();
    assert_eq!(get.status(), 406);
    let put = client.build(Method::PUT).send().await.unwrap();
    assert_eq!(put.status(), 405);
    assert_eq!(put.headers()["allow"], "GET, POST, DELETE");
    let head = client.build(Method::HEAD).send().await.unwrap();
    assert_eq!(head.status(), 405);
}

#[tokio::test]
async fn messages_that_are_none_get_an_error_each() {
    let (world, _instance) = World::ready().await;
    let client = world.client().await;
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let cases: [(Vec<u8>, i64, &str); 12] = [
        (b"".to_vec(), -32700, "not JSON"),
        (b"garbage".to_vec(), -32700, "not JSON"),
        (b"{\"jsonrpc\":\"2.0\",".to_vec(), -32700, "not JSON"),
        (vec![0xff; 100], -32700, "UTF-8"),
        (deep.into_bytes(), -32700, "deeper"),
        (b"[]".to_vec(), -32600, "is a batch"),
        (
            br#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#.to_vec(),
            -32600,
            "is a batch",
        ),
        (b"{}".to_vec(), -32600, "no JSON-RPC 2.0"),
        (
            br#"{"id":1,"method":"ping"}"#.to_vec(),
            -32600,
            "no JSON-RPC 2.0",
        ),
        (
            br#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#.to_vec(),
            -32600,
            "no JSON-RPC 2.0",
        ),
        (
            br#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#.to_vec(),
            -32600,
            "twice",
        ),
        (
            br#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#.to_vec(),
            -32600,
            "id",
        ),
    ];
    let count = cases.len();
    for (body, code, words) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let answer = whole(client.post_text(body).await).await;
        assert_eq!(answer.status, 400, "{shown}: {answer:?}");
        assert_eq!(answer.body["error"]["code"], code, "{shown}: {answer:?}");
        assert!(answer.message().contains(words), "{shown}: {answer:?}");
        assert_eq!(answer.body["jsonrpc"], "2.0");
    }
    assert_eq!(world.notes.errors(), vec![ErrorKind::Validation; count]);
    let blamed = world
        .notes
        .finished
        .lock()
        .iter()
        .filter(|(_, _, fault)| *fault)
        .count();
    assert_eq!(blamed, 0, "none of it is the instance's fault");
    assert_eq!(client.work_json(1, json!({})).await.status, 200);
}

#[tokio::test]
async fn an_answer_to_no_question_is_refused() {
    let (world, instance) = World::ready().await;
    let client = world.client().await;
    for id in [json!(1), json!("e1-ask.1"), Value::Null] {
        let answer = whole(
            client
                .post(&json!({"jsonrpc": "2.0", "id": id, "result": {}}))
                .await,
        )
        .await;
        assert_eq!(answer.status, 400, "{id}");
        assert!(answer.message().contains("no question"), "{answer:?}");
    }
    assert_eq!(instance.upstream.in_flight(), 0);
}

#[tokio::test]
async fn a_client_of_the_era_without_initialize_is_told_what_is_served() {
    let (world, _instance) = World::ready().await;
    let client = world.raw_client();
    let supported = json!(["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"]);
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
    let discover = json!({"jsonrpc": "2.0", "id": "d", "method": "server/discover", "params": {}});
    let with_meta =
        json!({"jsonrpc": "2.0", "id": "d", "method": "tools/list", "params": {"_meta": meta}});
    let plain = json!({"jsonrpc": "2.0", "id": "d", "method": "tools/list", "params": {}});
    for (message, header) in [
        (&discover, None),
        (&discover, Some("2026-07-28")),
        (&with_meta, None),
        (&plain, Some("2026-07-28")),
    ] {
        let mut request = client
            .build(Method::POST)
            .header("content-type", "application/json");
        if let Some(header) = header {
            request = request
                .header("mcp-protocol-version", header)
                .header("mcp-method", "server/discover");
        }
        let answer = whole(request.body(message.to_string()).send().await.unwrap()).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["id"]),
            (400, &json!("d")),
            "{message} {header:?}"
        );
        assert_eq!(answer.body["error"]["code"], -32022);
        assert_eq!(
            answer.body["error"]["data"],
            json!({"supported": supported, "requested": "2026-07-28"})
        );
    }
    // Within a session the same words are the instance's to answer.
    let client = world.client().await;
    assert_eq!(
        whole(client.request(1, "server/discover", json!({})).await)
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_body_past_the_bound_is_refused_before_it_is_received() {
    let (world, _instance) = World::ready().await;
    let client = world.client().await;
    let mut socket = TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "POST /mcp/demo HTTP/1.1\r\nhost: x\r\naccept: */*\r\ncontent-type: application/json\r\nmcp-session-id: {}\r\ncontent-length: 104857600\r\n\r\n",
        client.session.as_ref().unwrap()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    soon("a refusal", socket.read_exact(&mut answer))
        .await
        .unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn bodies_are_counted_for_as_long_as_they_are_kept() {
    let limits = ProxyLimits {
        bodies_bytes_max: 1_000_000,
        ..ProxyLimits::default()
    };
    let world = World::with(limits, std::sync::Arc::default(), "e1").await;
    let _first = world.start_run(1).await;
    let client = world.client().await;
    let large = json!({"pad": "x".repeat(300_000)});
    world.route(Route::Startable { wait_ms: 20_000 });
    let mut waiting = Vec::new();
    for id in 0..3 {
        let (client, large) = (client.clone(), large.clone());
        waiting.push(tokio::spawn(
            async move { client.work_json(id, large).await },
        ));
    }
    soon("three of them to wait for the start", async {
        while world.proxy.waiting_count() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let refused = client.work_json(3, large.clone()).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(refused.message().contains("bodies"), "{refused:?}");
    // What is small takes nothing of that, and is let through.
    let small = tokio::spawn({
        let client = client.clone();
        async move { client.work_json(4, json!({})).await }
    });
    soon("a small one to wait too", async {
        while world.proxy.waiting_count() < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let instance = world.start_run(2).await;
    for answer in waiting.into_iter().chain([small]) {
        assert!(answer.await.unwrap().body["result"].is_object());
    }
    // A request that was sent keeps no body, however long its answer takes.
    let mut held = Vec::new();
    for id in 0..6 {
        let (client, mut large) = (client.clone(), large.clone());
        large["do"] = json!("hold");
        held.push(tokio::spawn(
            async move { client.work_json(id, large).await },
        ));
        soon("it to be sent", async {
            while instance.upstream.in_flight() <= id {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    soon("all of them to be held", async {
        while instance.count("tools/call") < 10 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    instance.release();
    for answer in held {
        assert_eq!(
            answer.await.unwrap().body["result"],
            json!({"released": true})
        );
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_is_cut_off_at_the_bound() {
    let limits = ProxyLimits {
        body_bytes_max: 100_000,
        body_timeout: Duration::from_millis(300),
        ..ProxyLimits::default()
    };
    let world = World::with(limits, std::sync::Arc::default(), "e1").await;
    let _instance = world.start_run(1).await;
    let head = "POST /mcp/demo HTTP/1.1\r\nhost: x\r\naccept: */*\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 60_000, "x".repeat(60_000));
    // Too long, too slow, and broken off.
    for (chunks, status) in [(2, Some("413")), (1, Some("408"))] {
        let mut socket = TcpStream::connect(world.address).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..chunks {
            socket.write_all(chunk.as_bytes()).await.unwrap();
        }
        let mut answer = vec![0; 12];
        soon("a refusal", socket.read_exact(&mut answer))
            .await
            .unwrap();
        assert_eq!(status, Some(std::str::from_utf8(&answer[9..]).unwrap()));
    }
    let mut socket = TcpStream::connect(world.address).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(chunk.as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = soon("the end", socket.read_to_end(&mut answer)).await;
    let client = world.client().await;
    assert_eq!(client.work_json(1, json!({})).await.status, 200);
}

#[tokio::test]
async fn instances_that_do_not_exist_are_not_found() {
    let (world, _instance) = World::ready().await;
    let mut client = world.client().await;
    for name in ["nobody", "..", "%2e%2e", "a%20b", "%ff"] {
        client.url = format!("http://{}/mcp/{name}", world.address);
        let answer = client.work(1, json!({})).await;
        assert_eq!(answer.status(), 404, "{name}");
    }
    // Without an instance the path is still MCP's: its errors are JSON-RPC errors, and say what to write instead.
    for path in ["/mcp", "/mcp/"] {
        client.url = format!("http://{}{path}", world.address);
        let answer = whole(client.work(1, json!({})).await).await;
        assert_eq!(answer.status, 404, "{path}");
        let message = answer.body["error"]["message"].as_str().unwrap();
        assert!(message.contains("/mcp/{versionId}"), "{path}: {message}");
    }
    // No series is ever made up for them.
    let finished = world.notes.finished.lock();
    assert!(
        finished
            .iter()
            .all(|(instance, _, _)| instance.is_empty() || instance == "demo")
    );
}

#[tokio::test]
async fn initialize_without_a_version_is_refused() {
    let (world, _instance) = World::ready().await;
    let client = world.raw_client();
    for params in [
        json!({}),
        json!({"protocolVersion": 5}),
        json!([]),
        Value::Null,
    ] {
        let answer = whole(client.request(1, "initialize", params).await).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["error"]["code"]),
            (200, &json!(-32602))
        );
        assert!(answer.header("mcp-session-id").is_none());
    }
    assert_eq!(world.proxy.session_count(&world.id), 0);
}

#[tokio::test]
async fn half_closed_and_silent_connections_cost_nothing() {
    let (world, _instance) = World::ready().await;
    let client = world.client().await;
    let mut silent = Vec::new();
    for n in 0..200 {
        let mut socket = TcpStream::connect(world.address).await.unwrap();
        if n % 2 == 0 {
            let part = b"POST /mcp/demo HTTP/1.1\r\nhost: x\r\ncontent-le";
            socket.write_all(part).await.unwrap();
        }
        if n % 4 == 0 {
            socket.shutdown().await.unwrap();
        }
        silent.push(socket);
    }
    for id in 0..20 {
        assert_eq!(client.work_json(id, json!({})).await.status, 200);
    }
    // Those that closed their side are let go of.
    for socket in silent.iter_mut().step_by(4) {
        let mut answer = Vec::new();
        let _ = soon("the end", socket.read_to_end(&mut answer)).await;
    }
}

#[tokio::test]
async fn a_connection_that_ends_within_a_request_leaves_nothing_behind() {
    let (world, instance) = World::ready().await;
    let client = world.client().await;
    let call = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call",
                      "params": {"name": "work", "arguments": {"do": "hold"}}});
    let body = call.to_string();
    let request = format!(
        "POST /mcp/demo HTTP/1.1\r\nhost: x\r\naccept: */*\r\ncontent-type: application/json\r\nmcp-session-id: {}\r\ncontent-length: {}\r\n\r\n{body}",
        client.session.as_ref().unwrap(),
        body.len()
    );
    // Half closed with everything said, half closed in mid-body, and reset.
    for cut in [request.len(), request.len() - 10, request.len()] {
        let mut socket = TcpStream::connect(world.address).await.unwrap();
        socket.write_all(&request.as_bytes()[..cut]).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = soon("the end", socket.read_to_end(&mut answer)).await;
    }
    // What has reached the instance goes on there, and is over when it is answered.
    soon("what was sent to be answered", async {
        instance.release();
        while instance.upstream.in_flight() > 0 {
            instance.release();
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(client.work_json(6, json!({})).await.body["id"], 6);
}
