//! Times are RFC 3339 in everything that the API shows: no number of it is one of milliseconds since 1970.

use router_tests::{
    Router,
    receivers::{Authority, Reply},
};
use serde_json::Value;

use crate::channels::{Channel, config, start};

/// Numbers that are times of this century: the years 2017 to 2033. Nothing else that is shown comes near them.
const TIMES: std::ops::Range<f64> = 1.5e12..2e12;

fn assert_no_number_is_a_time(path: &str, value: &Value) {
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap();
            assert!(!TIMES.contains(&number), "{path} is {number}");
        }
        Value::Array(items) => {
            for item in items {
                assert_no_number_is_a_time(path, item);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                assert_no_number_is_a_time(&format!("{path} {name}"), member);
            }
        }
        _ => {}
    }
}

async fn check(router: &Router, path: &str) -> Value {
    let shown = router.get(path).await;
    assert_no_number_is_a_time(path, &shown);
    shown
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_of_the_api_has_a_time_that_is_a_number() {
    let authority = Authority::new();
    let (chat, deaf) = (
        Channel::start(&authority, "chat").await,
        Channel::start(&authority, "deaf").await,
    );
    deaf.service.always(Some(Reply::text(503, "down")));
    let config = config(&["one = \"P1 One\""])
        .bundled_policy()
        .plugin("default-capacity.wasm")
        .set("policy", "capacity = \"default-capacity\"")
        .tail(&chat.section(""))
        .tail(&deaf.section(""))
        .tail("[[alerts.maintenance]]\nname = \"weekly\"\nat = \"Mon 02:00\"\nfor = \"1h\"");
    let router = start(&config).await;
    router.post("/api/instances/echo/start").await;
    router.ready("echo").await;
    chat.has(&router, "one", &["firing"]).await;
    // A candidate that is refused has a time, too.
    std::fs::write(router.path("plugins/hostile-rule.wasm"), "no component").unwrap();
    router.post("/api/plugins/reload").await;
    for path in [
        "/api/audit",
        "/api/capacity",
        "/api/deliveries",
        "/api/health/mcp",
        "/api/health/readiness",
        "/api/history",
        "/api/instances",
        "/api/instances/echo",
        "/api/instances/echo/crashes",
        "/api/maintenance",
        "/api/silences",
    ] {
        check(&router, path).await;
    }
    let alerts = check(&router, "/api/alerts?state=all").await;
    let id = alerts["alerts"][0]["id"].as_str().unwrap();
    check(&router, &format!("/api/alerts/{id}")).await;
    let plugins = check(&router, "/api/plugins").await;
    let names = plugins["plugins"].as_array().unwrap().iter();
    let names: Vec<&str> = names.map(|one| one["name"].as_str().unwrap()).collect();
    assert!(names.len() >= 6, "{names:?}");
    for name in names {
        let shown = check(&router, &format!("/api/plugins/{name}")).await;
        if name == "hostile-rule" {
            assert!(shown["candidate"]["at"].is_string(), "{shown}");
            assert!(shown["decisions"][0]["at"].is_string(), "{shown}");
            assert!(shown["loadedAt"].is_string(), "{shown}");
        }
    }
    router.end().await;
}
