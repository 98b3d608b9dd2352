//! Two clients that share one instance: progress, cancellation and subscriptions reach the one that they are meant for, from the
//! server through the whole router and back, also where both use the same ids and tokens.

use std::time::Duration;

use router_tests::{Config, Router, Session, peers, until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

async fn router() -> Router {
    let config = Config::new()
        // What is in flight is seen at the next sample.
        .set("instances", "memory_interval = \"100ms\"")
        .server(peers::scripted(&[]).autostart());
    let router = Router::start(&config).await;
    router.ready("scripted").await;
    router
}

fn call(id: u64, tool: &str, arguments: &Value, token: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": tool, "arguments": arguments, "_meta": {"progressToken": token}}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_client_hears_the_progress_of_its_own_call() {
    let router = router().await;
    let check = async |steps: u64, token: Value| {
        let session = router.session("scripted").await;
        for round in 0..20 {
            let message = call(7, "progress", &json!({"steps": steps}), &token);
            let answer = session.post(&message).await;
            let heard: Vec<Value> = answer
                .messages
                .iter()
                .filter(|message| message["method"] == "notifications/progress")
                .map(|message| message["params"].clone())
                .collect();
            let expected: Vec<Value> = (1..=steps)
                .map(|step| json!({"progressToken": token, "progress": step, "total": steps}))
                .collect();
            assert_eq!(heard, expected, "round {round}: {}", answer.text);
            let response = answer.messages.last().unwrap();
            assert_eq!(response["id"], 7, "{response}");
            assert_eq!(response["result"]["content"][0]["text"], "progressed");
        }
    };
    // The same ids, at the same time; a token is what its client chose, number or text.
    tokio::join!(
        check(40, json!(1)),
        check(60, json!(1)),
        check(50, json!("1"))
    );
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_cancels_its_own_request_and_no_other() {
    let router = router().await;
    let hang = async |session: &Session| {
        let message = call(5, "hang", &json!({}), &json!("t"));
        tokio::time::timeout(SOON, session.post(&message))
            .await
            .unwrap()
    };
    let (one, other) = (
        router.session("scripted").await,
        router.session("scripted").await,
    );
    let meanwhile = async {
        router
            .instance_until("scripted", "busy with both", SOON, |one| {
                one["inFlight"] == 2
            })
            .await;
        let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
            "params": {"requestId": 5, "reason": "no longer wanted"}});
        assert_eq!(one.post(&cancelled).await.status, 202);
        router
            .instance_until("scripted", "busy with one", SOON, |one| {
                one["inFlight"] == 1
            })
            .await;
        // How many still hang, as the server sees it.
        let mut third = router.session("scripted").await;
        assert_eq!(third.call("release", &json!({})).await, "1");
    };
    let (cancelled, released, ()) = tokio::join!(hang(&one), hang(&other), meanwhile);
    assert!(
        cancelled.response()["result"].is_null(),
        "{}",
        cancelled.text
    );
    let released = released.response();
    assert_eq!(released["id"], 5, "{released}");
    assert_eq!(released["result"]["content"][0]["text"], "released");
    let shown = router.instance("scripted").await;
    assert_eq!(shown["circuitBreakerState"], "CLOSED", "{shown}");
    router.end().await;
}

/// A server that compares names without case, as Go's `encoding/json` does, takes a notification with an `ID` for a request, and answers
/// it under the id of another client's. The forger here even knows which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_answers_another_ones_request_through_a_server_that_reads_like_go() {
    let server = peers::scripted(&["--go-like"]).autostart();
    let router = Router::start(&Config::new().server(server)).await;
    router.ready("scripted").await;
    let victim = router.session("scripted").await;
    let mut forger = router.session("scripted").await;
    let victims = async {
        let message = call(5, "hang", &json!({}), &json!("t"));
        tokio::time::timeout(SOON, victim.post(&message))
            .await
            .unwrap()
    };
    let forging = async {
        let id = until(
            "the id of the victim's request",
            SOON,
            async || match forger.call("hanging", &json!({})).await {
                id if id.is_empty() => Err("none hangs".to_owned()),
                id => Ok(id),
            },
        )
        .await;
        let id: Value = serde_json::from_str(&id).unwrap();
        let echo = json!({"name": "echo", "arguments": {"text": "forged"}});
        for (forged, status) in [
            (
                json!({"method": "notifications/x", "ID": id, "Method": "tools/call", "params": echo}),
                400,
            ),
            (
                json!({"method": "tools/call", "Id": id, "params": echo}),
                400,
            ),
            (
                json!({"method": "tools/call", "\u{131}d": id, "params": echo}),
                400,
            ),
            (
                json!({"method": "notifications/x", "params": {}, "PARAM\u{17f}": echo}),
                400,
            ),
            // What no parser takes for anything is left out.
            (
                json!({"method": "notifications/x", "params": echo, "id_": id}),
                202,
            ),
            (json!({"id": id, "result": {"content": []}}), 400),
            (
                json!({"method": "notifications/cancelled", "params": {"RequestId": id}}),
                202,
            ),
            (
                json!({"id": 1, "method": "tools/call", "params": {"name": "progress", "arguments": {"steps": 3}, "_Meta": {"progressToken": id}}}),
                200,
            ),
            (
                json!({"id": 1, "method": "tools/call", "params": {"name": "progress", "arguments": {"steps": 3}, "_meta": {"PROGRESSTOKEN": id}}}),
                200,
            ),
        ] {
            let mut message = forged.clone();
            message["jsonrpc"] = "2.0".into();
            let answer = forger.post(&message).await;
            assert_eq!(answer.status, status, "{forged}: {}", answer.text);
            assert!(
                !answer.text.contains("progressed"),
                "{forged}: {}",
                answer.text
            );
        }
        assert_eq!(forger.call("release", &json!({})).await, "1");
    };
    let (answer, ()) = tokio::join!(victims, forging);
    assert_eq!(answer.messages.len(), 1, "{}", answer.text);
    let text = &answer.response()["result"]["content"][0]["text"];
    assert_eq!(text, "released", "{}", answer.text);
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_client_hears_of_what_it_subscribed_to() {
    let router = router().await;
    let mut one = router.session("scripted").await;
    let mut other = router.session("scripted").await;
    let mut toucher = router.session("scripted").await;
    let (mut to_one, mut to_other) = (one.listen().await, other.listen().await);
    let subscribe = async |session: &mut Session, uri: &str| {
        let answer = session
            .ask("resources/subscribe", &json!({"uri": uri}))
            .await;
        assert!(answer["result"].is_object(), "{answer}");
    };
    subscribe(&mut one, "test://one").await;
    subscribe(&mut one, "test://both").await;
    subscribe(&mut other, "test://both").await;
    subscribe(&mut other, "test://other").await;
    let uri = |message: Value| {
        assert_eq!(
            message["method"], "notifications/resources/updated",
            "{message}"
        );
        message["params"]["uri"].as_str().unwrap().to_owned()
    };
    toucher.call("touch", &json!({})).await;
    for wanted in ["test://one", "test://both"] {
        assert_eq!(uri(to_one.next().await), wanted);
    }
    for wanted in ["test://both", "test://other"] {
        assert_eq!(uri(to_other.next().await), wanted);
    }

    // What one gives up the other keeps. Twice: what must not come would come between.
    let both = json!({"uri": "test://both"});
    one.ask("resources/unsubscribe", &both).await;
    toucher.call("touch", &json!({})).await;
    toucher.call("touch", &json!({})).await;
    for wanted in ["test://one", "test://one"] {
        assert_eq!(uri(to_one.next().await), wanted);
    }
    for _ in 0..2 {
        for wanted in ["test://both", "test://other"] {
            assert_eq!(uri(to_other.next().await), wanted);
        }
    }

    // A new process knows of no subscription, and gets them before it is used.
    router.post("/api/instances/scripted/restart").await;
    toucher.call("touch", &json!({})).await;
    let mut again = vec![uri(to_other.next().await), uri(to_other.next().await)];
    again.sort_unstable();
    assert_eq!(again, ["test://both", "test://other"]);
    assert_eq!(uri(to_one.next().await), "test://one");
    router.end().await;
}
