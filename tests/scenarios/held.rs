//! A policy cannot take the fleet down: a generation that would take away most of what serves is held, and does nothing, until an
//! operator confirms it; rejected, it is as if it had never been there. Both are known to the next router.

use std::{collections::BTreeMap, fs, time::Duration};

use router_tests::{Config, Router, peers, pid_of, until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

const INSTANCES: usize = 6;

fn id(number: usize) -> String {
    format!("echo-{number}")
}

/// A fleet that a mode of the hostile guest judges.
fn fleet(mode: &str) -> Config {
    let config = Config::new()
        .set("health", "disk_share = 1.0")
        .set("health", "interval = \"200ms\"")
        .set("policy", "health = \"hostile-health\"")
        .set(
            "plugins.config.hostile-health",
            &format!("mode = \"{mode}\""),
        );
    (0..INSTANCES).fold(config, |config, number| {
        config.server(peers::echo().named(&id(number)).autostart())
    })
}

/// A router with a plugin in its folder.
fn prepared(config: &Config, file: std::path::PathBuf, name: &str) -> Router {
    let router = Router::prepared(config, &[]);
    fs::copy(file, router.path(&format!("plugins/{name}.wasm"))).unwrap();
    router
}

/// A fleet that is well, judged by the guest in another mode.
async fn with_hostile_guest() -> Router {
    let guest = peers::guest("hostile-health.wasm");
    let mut router = prepared(&fleet("nothing"), guest, "hostile-health");
    router.start_again().await;
    for number in 0..INSTANCES {
        router.ready(&id(number)).await;
    }
    in_force(&router, "hostile-health", 1).await;
    router
}

async fn pids(router: &Router) -> BTreeMap<String, i32> {
    let mut pids = BTreeMap::new();
    for number in 0..INSTANCES {
        let one = router.instance(&id(number)).await;
        pids.insert(id(number), pid_of(&one));
    }
    pids
}

/// Waits until what is shown of a plugin is as wanted, and returns it.
async fn shown(
    router: &Router,
    plugin: &str,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    until(what, SOON, async || {
        let shown = router.get(&format!("/api/plugins/{plugin}")).await;
        if wanted(&shown) {
            Ok(shown)
        } else {
            Err(format!("{shown}\n{}", router.tail()))
        }
    })
    .await
}

async fn in_force(router: &Router, plugin: &str, generation: u64) {
    let is_so = |shown: &Value| shown["generation"] == generation && shown["trial"].is_null();
    shown(router, plugin, "a generation in force", is_so).await;
}

async fn held(router: &Router, plugin: &str) -> Value {
    let is_held = |shown: &Value| shown["trial"]["state"] == "held";
    shown(router, plugin, "a generation that is held", is_held).await
}

/// Waits for readiness, and returns its reasons.
async fn readiness(router: &Router, status: &str) -> String {
    until(&format!("{status} readiness"), SOON, async || {
        let readiness = router.readiness().await;
        if readiness["status"] == status {
            Ok(readiness["reasons"].to_string())
        } else {
            Err(format!("{readiness}\n{}", router.tail()))
        }
    })
    .await
}

/// What one of the operators' commands about plugins prints.
async fn command(router: &Router, arguments: &[&str]) -> String {
    let mut command = router.command();
    command
        .args(["plugin", "--url", &router.url("")])
        .args(arguments);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{output:?}\n{}", router.tail());
    String::from_utf8(output.stdout).unwrap()
}

async fn reload(router: &Router, config: &Config) {
    router.write_config(config);
    router.post("/api/config/reload").await;
}

/// It is said everywhere that generation 2 of a plugin is held, and generation 1 stays.
async fn assert_said(router: &Router, plugin: &str) {
    let reasons = readiness(router, "degraded").await;
    for phrase in [
        &format!("policy {plugin}: generation 2 is held"),
        "generation 1 stays in force",
        &format!("plugin confirm {plugin}"),
        &format!("plugin reject {plugin}"),
    ] {
        assert!(reasons.contains(phrase), "{phrase}: {reasons}");
    }
    let readiness = router.readiness().await;
    assert_eq!(readiness["checks"]["plugins"]["held"], 1, "{readiness}");
    let (_, metrics) = router
        .ask(reqwest::Method::GET, "/api/metrics/prometheus", None)
        .await;
    let metrics = metrics
        .as_str()
        .map_or_else(|| metrics.to_string(), str::to_owned);
    let gauge = format!("mcp_plugin_held{{plugin=\"{plugin}\"}} 1");
    assert!(metrics.contains(&gauge), "{metrics}");
    router
        .logged(&["ERROR", "plugin generation held", plugin], SOON)
        .await;
    let list = command(router, &["list"]).await;
    assert!(list.contains("generation 2 is held"), "{list}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_health_policy_that_condemns_all_is_held_and_what_is_decided_outlives_routers() {
    let mut router = with_hostile_guest().await;
    let before = pids(&router).await;
    reload(&router, &fleet("condemn")).await;
    let trial = held(&router, "hostile-health").await["trial"].clone();
    assert_said(&router, "hostile-health").await;
    let changes = trial["wouldChange"].as_array().unwrap();
    assert_eq!(changes.len(), INSTANCES, "{trial}");
    let first = changes[0].as_str().unwrap();
    assert_eq!(first, "echo-0: unhealthy, recycle: condemned", "{trial}");
    assert_eq!(pids(&router).await, before, "somebody was recycled");

    // Undecided, it is held by the next router too, and the generation before is in force although its settings are gone.
    assert!(router.terminate().await.success());
    router.start_again().await;
    let shown = held(&router, "hostile-health").await;
    assert_eq!(shown["generation"], 1, "{shown}");
    assert_eq!(shown["trial"]["reason"], trial["reason"], "{shown}");

    let said = command(&router, &["reject", "hostile-health"]).await;
    assert!(said.contains("generation 1 is in force"), "{said}");
    readiness(&router, "healthy").await;
    let audit = router.get("/api/audit?action=plugin.reject").await;
    assert_eq!(audit["rows"][0]["target"], "hostile-health", "{audit}");
    assert!(router.terminate().await.success());
    router.start_again().await;
    let is_rejected = |shown: &Value| shown["candidate"]["code"] == "rejected";
    let shown = decision_known(&router, is_rejected).await;
    assert_eq!(
        (&shown["generation"], &shown["trial"]),
        (&json!(1), &Value::Null)
    );
    readiness(&router, "healthy").await;
    let log = router.log();
    assert!(!log.contains("recycled: condemned"), "{}", router.tail());

    // After all: bounded as any policy is, and known to the next router.
    let said = command(&router, &["confirm", "hostile-health"]).await;
    assert!(said.contains("is in force"), "{said}");
    router.logged(&["recycled: condemned"], SOON).await;
    assert!(router.terminate().await.success());
    router.start_again().await;
    let is_confirmed = |shown: &Value| shown["confirmed"] == true && shown["generation"] == 1;
    decision_known(&router, is_confirmed).await;
    for number in 0..INSTANCES {
        router.ready(&id(number)).await;
    }
    // That it was held, and why, stands in the history of what four routers saw.
    let history = router.get("/api/history?axis=plugin&limit=1000").await;
    let is_held = |row: &Value| {
        let reason = row["reason"].as_str().unwrap();
        row["plugin"] == "hostile-health" && row["to"] == "held" && reason.contains("generation 2")
    };
    let rows = history["rows"].as_array().unwrap();
    assert!(rows.iter().any(is_held), "{history}");
    router.end().await;
}

async fn decision_known(router: &Router, wanted: impl Fn(&Value) -> bool) -> Value {
    shown(router, "hostile-health", "a decision that is known", wanted).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_changed_while_no_router_ran_are_tried_against_what_is_adopted() {
    let mut router = with_hostile_guest().await;
    let before = pids(&router).await;
    assert!(router.terminate().await.success());
    router.write_config(&fleet("condemn"));
    router.start_again().await;
    let is_known =
        |shown: &Value| shown["trial"]["state"] == "held" && shown["generation"].as_u64() > Some(0);
    let shown = decision_known(&router, is_known).await;
    assert_eq!(shown["trial"]["generation"], 1, "{shown}");
    for number in 0..INSTANCES {
        let is_healthy = |one: &Value| one["health"] == "healthy";
        router
            .instance_until(&id(number), "healthy", SOON, is_healthy)
            .await;
    }
    assert_eq!(pids(&router).await, before, "somebody was recycled");
    assert!(!router.log().contains("recycled: condemned"));
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_changes_its_mind_gives_way_to_the_one_before() {
    let router = with_hostile_guest().await;
    reload(&router, &fleet("condemn-used")).await;
    // Nobody has called yet, and so it takes nobody away.
    in_force(&router, "hostile-health", 2).await;
    for number in 0..INSTANCES {
        router.session(&id(number)).await;
    }
    let shown = held(&router, "hostile-health").await;
    assert_eq!(shown["trial"]["generation"], 2, "{shown}");
    let before = |shown: &Value| shown["generation"] == 3 && shown["state"] == "serving";
    decision_known(&router, before).await;
    until("readiness to say what is in force", SOON, async || {
        let reasons = readiness(&router, "degraded").await;
        if reasons.contains("generation 3 stays in force") {
            Ok(())
        } else {
            Err(reasons)
        }
    })
    .await;
    for number in 0..INSTANCES {
        let is_healthy = |one: &Value| one["health"] == "healthy";
        router
            .instance_until(&id(number), "healthy", SOON, is_healthy)
            .await;
    }
    // Not more than were being recycled when it was held.
    let recycled = router.log().matches("recycled: condemned").count();
    assert!(
        recycled <= 2 * INSTANCES / 5 + 1,
        "{recycled} were recycled"
    );
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breaker_plan_that_would_open_all_is_held() {
    const NAME: &str = "default-breaker";
    let config = |setting: &str| {
        let config = Config::new()
            .set("health", "disk_share = 1.0")
            .set("policy", "breaker = \"default-breaker\"")
            .set("plugins.config.default-breaker", setting);
        ["a", "b", "c"].into_iter().fold(config, |config, name| {
            let server = peers::scripted(&[]).named(name).autostart();
            config.server(server.with("request_timeout = \"300ms\""))
        })
    };
    let file = peers::bundled_breaker_policy();
    let mut router = prepared(&config("mode = \"enforce\""), file, NAME);
    router.start_again().await;
    for name in ["a", "b", "c"] {
        router.ready(name).await;
        // Two in a row have failed, where three would open it.
        let mut session = router.session(name).await;
        for _ in 0..2 {
            session.try_call("hang", &json!({})).await;
        }
    }
    in_force(&router, NAME, 1).await;
    reload(&router, &config("consecutive_failures = 2")).await;
    let trial = held(&router, NAME).await["trial"].clone();
    assert_said(&router, NAME).await;
    let change = "a: 2 requests in a row failed";
    assert_eq!(trial["wouldChange"][0], change, "{trial}");
    let failures = async |expected: u64| {
        until("the plan in force", SOON, async || {
            let shown = router.get("/api/instances/a").await;
            let value = &shown["breakerPlan"]["thresholds"]["consecutiveFailures"]["value"];
            let is_closed = shown["circuitBreakerState"] == "CLOSED";
            if *value == expected && is_closed {
                Ok(())
            } else {
                Err(format!("{shown}\n{}", router.tail()))
            }
        })
        .await;
    };
    failures(3).await;
    router.post("/api/plugins/default-breaker/confirm").await;
    failures(2).await;
    readiness(&router, "healthy").await;
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capacity_plan_far_below_what_runs_is_held() {
    const NAME: &str = "default-capacity";
    let config = |setting: &str| {
        let config = fleet("nothing").set("policy", "capacity = \"default-capacity\"");
        config.set("plugins.config.default-capacity", setting)
    };
    let file = peers::bundled_capacity_policy();
    let mut router = prepared(&config("buffer = 0.2"), file, NAME);
    let guest = peers::guest("hostile-health.wasm");
    fs::copy(guest, router.path("plugins/hostile-health.wasm")).unwrap();
    router.start_again().await;
    for number in 0..INSTANCES {
        router.ready(&id(number)).await;
    }
    let limits = async |expected: &Value| {
        until("the plan in force", SOON, async || {
            let capacity = router.get("/api/capacity").await;
            let plan = &capacity["plan"];
            let limits = plan["limits"].as_array().map(Vec::len);
            if plan["policy"] == NAME && plan["limits"][0]["most"] == *expected {
                Ok(())
            } else {
                Err(format!("{limits:?} {capacity}\n{}", router.tail()))
            }
        })
        .await;
    };
    limits(&Value::Null).await;
    in_force(&router, NAME, 1).await;
    reload(&router, &config("running_max = 2")).await;
    let trial = held(&router, NAME).await["trial"].clone();
    assert_said(&router, NAME).await;
    let change = "running instances: 6 are in use, and 2 would be allowed";
    assert_eq!(trial["wouldChange"][0], change, "{trial}");
    limits(&Value::Null).await;
    // Another one takes its place, and is in force at once.
    reload(&router, &config("running_max = 5")).await;
    limits(&json!(5)).await;
    readiness(&router, "healthy").await;
    let (status, answer) = router
        .ask(
            reqwest::Method::POST,
            "/api/plugins/default-capacity/confirm",
            None,
        )
        .await;
    assert_eq!(status, 409, "{answer}");
    router.end().await;
}
