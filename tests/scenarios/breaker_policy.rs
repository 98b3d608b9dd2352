//! A breaker policy is given other numbers while clients call: no request fails, the new plan is in force within a second, and it
//! changes numbers only: what was OPEN stays so.

use std::{
    fs,
    time::{Duration, Instant},
};

use router_tests::{Config, Load, Router, Server, load::Plan, peers, until};
use serde_json::{Value, json};

const CLIENTS: usize = 32;

/// The design's promise, and five times as long for a machine that other tests share.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(5);

const SOON: Duration = Duration::from_secs(60);

fn server(id: &str) -> Server {
    let server = peers::scripted(&[]).named(id).autostart();
    server.with("request_timeout = \"300ms\"")
}

/// The bundled policy plans, with this of its settings.
fn config(setting: &str) -> Config {
    Config::new()
        .set("policy", "breaker = \"default-breaker\"")
        .set("plugins.config.default-breaker", setting)
        .server(server("early"))
        .server(server("late"))
}

async fn plan(router: &Router, id: &str) -> Value {
    let shown = router.get(&format!("/api/instances/{id}")).await;
    shown["breakerPlan"].clone()
}

/// Waits until the plan in force is as wanted.
async fn planned(router: &Router, id: &str, within: Duration, wanted: impl Fn(&Value) -> bool) {
    until(&format!("another plan for {id}"), within, async || {
        let shown = plan(router, id).await;
        if wanted(&shown) {
            return Ok(());
        }
        let plugin = router.get("/api/plugins/default-breaker").await;
        Err(format!("{shown}\n{plugin}\n{}", router.tail()))
    })
    .await;
}

/// Calls that time out, one after the other: exactly so many open the breaker.
async fn trips_after(router: &Router, id: &str, failures: usize) {
    let mut session = router.session(id).await;
    let mut call = async || {
        let answer = session.try_call("hang", &json!({})).await;
        answer["error"]["message"]
            .as_str()
            .unwrap_or("answered")
            .to_owned()
    };
    for n in 1..=failures {
        let message = call().await;
        assert!(
            message.contains("no answer within"),
            "call {n} was not given up after its time: {message}"
        );
        let state = |state: &'static str| move |one: &Value| one["circuitBreakerState"] == state;
        let expected = if n < failures { "CLOSED" } else { "OPEN" };
        router
            .instance_until(id, expected, SOON, state(expected))
            .await;
    }
    let message = call().await;
    assert!(
        message.starts_with("Circuit breaker is OPEN. Retry in "),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breaker_policy_is_replaced_under_load_and_no_request_fails() {
    let mut router = Router::prepared(&config("mode = \"enforce\""), &[]);
    let file = router.path("plugins/default-breaker.wasm");
    fs::copy(peers::bundled_breaker_policy(), file).unwrap();
    router.start_again().await;
    for id in ["early", "late"] {
        router.ready(id).await;
        planned(&router, id, SOON, |plan| {
            plan["policy"] == "default-breaker"
        })
        .await;
    }
    let by_configuration = json!({"value": 3, "from": "default"});
    let shown = plan(&router, "early").await;
    assert_eq!(
        shown["thresholds"]["consecutiveFailures"], by_configuration,
        "{shown}"
    );
    trips_after(&router, "early", 3).await;

    let load = Load::start(router.address(), "/mcp/late", &Plan::clients(CLIENTS)).await;
    load.further(200, SOON).await;
    router.write_config(&config("consecutive_failures = 5"));
    let reloaded = router.post("/api/config/reload").await;
    assert_eq!(reloaded["refusedPlugins"], json!({}), "{reloaded}");
    let since = Instant::now();
    let by_policy = json!({"value": 5, "from": "default-breaker"});
    for id in ["late", "early"] {
        planned(&router, id, IN_FORCE_WITHIN, |plan| {
            plan["thresholds"]["consecutiveFailures"] == by_policy
        })
        .await;
    }
    println!("in force after {:?}", since.elapsed());
    load.further(200, SOON).await;
    load.stop().await.assert_clean(400);

    // Numbers, and no state.
    assert_eq!(
        router.instance("early").await["circuitBreakerState"],
        "OPEN"
    );
    trips_after(&router, "late", 5).await;
    let plugin = router.get("/api/plugins/default-breaker").await;
    let last = &plugin["decisions"][0];
    assert_eq!(
        last["plan"]["thresholds"]["consecutiveFailures"], 5,
        "{plugin}"
    );
    assert_eq!(
        last["profile"]["configured"]["consecutiveFailures"], 3,
        "{plugin}"
    );
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_of_another_kind_answers_nothing_and_the_file_that_names_it_twice_is_refused() {
    let config = Config::new()
        .bundled_policy()
        .set("policy", "health = \"builtin\"")
        .set("policy", "breaker = \"default-health\"")
        .server(server("early"));
    let router = Router::start(&config).await;
    router.ready("early").await;
    until("the plugin to be loaded", SOON, async || {
        let plugin = router.get("/api/plugins/default-health").await;
        match plugin["generation"].as_u64() {
            Some(1..) => Ok(()),
            _ => Err(plugin.to_string()),
        }
    })
    .await;
    let shown = plan(&router, "early").await;
    assert_eq!(shown["policy"], "builtin", "{shown}");
    let fault = "policy default-health: it is a health-policy, and is named for a breaker-policy";
    until("readiness to say so", SOON, async || {
        let readiness = router.readiness().await;
        let is_said = readiness.to_string().contains(fault);
        is_said.then_some(()).ok_or(readiness.to_string())
    })
    .await;
    router.logged(&[fault], SOON).await;
    let output = router.run(&["check"]).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(fault), "{said}");
    let twice = config.set("policy", "health = \"default-health\"");
    router.write_config(&twice);
    let output = router.run(&["check"]).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(
        said.contains("policy.breaker: names default-health, which policy.health names too"),
        "{said}"
    );
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breaker_policy_is_asked_with_what_single_tools_are_like() {
    let with = |setting: &str| {
        let config = Config::new().set("policy", "breaker = \"default-breaker\"");
        let config = config.set("plugins.config.default-breaker", setting);
        config.server(server("early"))
    };
    let mut router = Router::prepared(&with("successes = 3"), &[]);
    let file = router.path("plugins/default-breaker.wasm");
    fs::copy(peers::bundled_breaker_policy(), file).unwrap();
    router.start_again().await;
    router.ready("early").await;
    let by_policy = |plan: &Value| plan["thresholds"]["successes"]["value"] == 3;
    planned(&router, "early", SOON, by_policy).await;
    let mut session = router.session("early").await;
    for n in 0..40 {
        if n % 2 == 0 {
            session.call("echo", &json!({"text": "quick"})).await;
        }
        session.call("slow", &json!({"ms": 20})).await;
        // A client may name what it likes.
        session.try_call(&format!("invented-{n}"), &json!({})).await;
    }
    session.try_call("hang", &json!({})).await;

    // It is asked anew at once where it is another one.
    router.write_config(&with("successes = 4"));
    router.post("/api/config/reload").await;
    let by_policy = |plan: &Value| plan["thresholds"]["successes"]["value"] == 4;
    planned(&router, "early", SOON, by_policy).await;
    let plugin = router.get("/api/plugins/default-breaker").await;
    let profile = &plugin["decisions"][0]["profile"];
    let tools = profile["tools"].as_array().unwrap();
    let named: Vec<_> = tools
        .iter()
        .map(|tool| (&tool["name"], &tool["calls"]))
        .collect();
    assert_eq!(
        named,
        [
            (&json!("slow"), &json!(40)),
            (&json!("echo"), &json!(20)),
            (&json!("hang"), &json!(1)),
        ],
        "{plugin}"
    );
    let number = |tool: usize, name: &str| tools[tool][name].as_f64();
    // What takes 20 ms takes no less by a figure that is within an eighth.
    assert!(number(0, "p50Ms") > Some(17.0), "{profile}");
    assert!(number(1, "p50Ms") < number(0, "p50Ms"), "{profile}");
    assert_eq!(number(0, "errorShare"), Some(0.0), "{profile}");
    // Of one call there is no share.
    assert_eq!(tools[2]["errorShare"], json!(null), "{profile}");
    let attributes = &profile["attributes"];
    assert_eq!(
        (&attributes["rest-tools"], &attributes["rest-calls"]),
        (&json!("0"), &json!("40")),
        "{profile}"
    );
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_plan_is_refused_and_the_one_before_stays() {
    let with = |mode: &str| {
        let config = Config::new().set("policy", "breaker = \"hostile-breaker\"");
        let mode = format!("mode = \"{mode}\"");
        let config = config.set("plugins.config.hostile-breaker", &mode);
        config.server(server("early"))
    };
    let mut router = Router::prepared(&with("well"), &[]);
    let file = router.path("plugins/hostile-breaker.wasm");
    fs::copy(peers::guest("hostile-breaker.wasm"), file).unwrap();
    router.start_again().await;
    router.ready("early").await;
    let by_policy = json!({"value": 7, "from": "hostile-breaker"});
    let good = |plan: &Value| plan["thresholds"]["successes"] == by_policy;
    hostile_plan(&router, &good).await;
    for (mode, reason) in [
        ("nan", "thresholds.failure-share is NaN; expected 0.01 to 2"),
        ("huge", "thresholds.window-ms is 18446744073709551615"),
        ("many-rows", "table has more than 64 rows"),
        ("forged-name", "neither blanks nor control characters"),
    ] {
        router.write_config(&with(mode));
        router.post("/api/config/reload").await;
        let shown = hostile_plan(&router, &|plan| {
            let refused = plan["refused"]["reason"].as_str();
            refused.is_some_and(|refused| refused.contains(reason))
        })
        .await;
        assert!(good(&shown), "the plan before stays: {shown}");
    }
    router
        .logged(&["plan refused", "hostile-breaker", "breaker-policy"], SOON)
        .await;
    // No answer at all leaves it in force, too.
    router.write_config(&with("loop"));
    router.post("/api/config/reload").await;
    until("quarantine", SOON, async || {
        let plugin = router.get("/api/plugins/hostile-breaker").await;
        let is_quarantined = plugin["state"] == "quarantined";
        is_quarantined.then_some(()).ok_or(plugin.to_string())
    })
    .await;
    let shown = plan(&router, "early").await;
    assert!(good(&shown), "{shown}");
    let mut session = router.session("early").await;
    let answer = session.call("echo", &json!({"text": "served"})).await;
    assert_eq!(answer, "served");
    router.end().await;
}

/// Waits until the plan that is shown is as wanted.
async fn hostile_plan(router: &Router, wanted: &dyn Fn(&Value) -> bool) -> Value {
    until("another plan", SOON, async || {
        let shown = plan(router, "early").await;
        let is_so = wanted(&shown);
        is_so
            .then(|| shown.clone())
            .ok_or_else(|| format!("{shown}\n{}", router.tail()))
    })
    .await
}
