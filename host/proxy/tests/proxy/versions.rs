//! The protocol's versions: what is agreed on, and what the header may say afterwards.

use reqwest::Method;
use serde_json::json;

use crate::{client::whole, world::World};

const SERVED: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

#[tokio::test]
async fn every_version_is_spoken_with_and_without_its_header() {
    let (world, _instance) = World::ready().await;
    for version in SERVED {
        let client = world.client_of(version).await;
        assert_eq!(client.version, version);
        let session = client.session.clone().unwrap();
        // Clients before 2025-06-18 send no header, and it is taken as said in that version.
        for header in [None, Some(version)] {
            let mut request = reqwest::Client::builder()
                .no_proxy()
                .build()
                .unwrap()
                .post(&client.url)
                .header("accept", "application/json, text/event-stream")
                .header("content-type", "application/json")
                .header("mcp-session-id", &session);
            if let Some(header) = header {
                request = request.header("mcp-protocol-version", header);
            }
            let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
            let answer = whole(request.body(ping.to_string()).send().await.unwrap()).await;
            assert_eq!(answer.status, 200, "{version} {header:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_header_that_names_no_served_version_is_refused_for_every_method() {
    let (world, _instance) = World::ready().await;
    let client = world.client().await;
    for method in [Method::POST, Method::GET, Method::DELETE] {
        for version in ["2026-07-28", "1.0", ""] {
            let mut client = client.clone();
            client.version = version.to_owned();
            let request = client
                .build(method.clone())
                .header("content-type", "application/json")
                .body(r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#);
            let answer = whole(request.send().await.unwrap()).await;
            assert_eq!(answer.status, 400, "{method} {version:?}");
            let error = &answer.body["error"];
            assert_eq!(error["code"], -32022, "{method} {version:?}");
            assert_eq!(error["data"]["requested"], version);
            assert_eq!(error["data"]["supported"].as_array().unwrap().len(), 4);
        }
    }
    assert_eq!(client.delete().await, 204, "the session was not touched");
}
