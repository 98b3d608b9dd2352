//! What is not acceptable, and how that is said.

use reqwest::Method;
use router_core::ErrorKind;
use serde_json::{Value, json};

use crate::{client::whole, world::World};

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
    for (body, code, text) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let answer = whole(client.post_text(body).await).await;
        assert_eq!(answer.status, 400, "{shown}: {answer:?}");
        assert_eq!(answer.body["error"]["code"], code, "{shown}: {answer:?}");
        assert!(answer.message().contains(text), "{shown}: {answer:?}");
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
async fn a_client_of_the_era_without_initialize_gets_the_versions_that_are_served() {
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
    // Within a session the instance answers the same request.
    let client = world.client().await;
    assert_eq!(
        whole(client.request(1, "server/discover", json!({})).await)
            .await
            .status,
        200
    );
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
    // Nor is there a session to be ended.
    client.url = format!("http://{}/mcp/nobody", world.address);
    assert_eq!(client.delete().await, 404);
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
