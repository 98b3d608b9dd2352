//! Bodies that are long, slow or broken off, and connections that end early.

use std::time::Duration;

use router_core::route::Route;
use router_proxy::ProxyLimits;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{client::soon, world::World};

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
    // Connections whose clients closed their side are closed.
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
