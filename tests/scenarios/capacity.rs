//! Capacity through whole routers: what is needed is reckoned from what runs, by a policy that is replaced while it does.

use std::{fs, time::Duration};

use router_tests::{
    Config, Router, Session, mcp::initialize, peers, pid_of, processes, shell, until,
};
use serde_json::Value;

/// The policy is asked at the latest five seconds after the fleet changed, and answers at once.
const SOON: Duration = Duration::from_secs(30);

fn config(policy: &str) -> Config {
    Config::new()
        .set("policy", &format!("capacity = \"{policy}\""))
        .server(peers::echo().autostart())
        .server(peers::echo().named("second").autostart())
}

/// A router with both policies in its folder, one of which plans.
async fn started(config: &Config) -> Router {
    let mut router = Router::prepared(config, &[]);
    for (file, name) in [
        (peers::bundled_capacity_policy(), "default-capacity"),
        (peers::guest("hostile-capacity.wasm"), "hostile-capacity"),
    ] {
        fs::copy(file, router.path(&format!("plugins/{name}.wasm"))).unwrap();
    }
    router.start_again().await;
    router
}

/// Waits until capacity is as wanted, and returns it.
async fn capacity(router: &Router, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    until(what, SOON, async || {
        let capacity = router.get("/api/capacity").await;
        if is_so(&capacity) {
            Ok(capacity)
        } else {
            Err(format!("{capacity}\n{}", router.tail()))
        }
    })
    .await
}

/// Whether the bundled policy has planned from so many that run.
fn planned_from(running: u64) -> impl Fn(&Value) -> bool {
    move |capacity| {
        let plan = &capacity["plan"];
        plan["policy"] == "default-capacity" && plan["reckonedFrom"]["usage"]["running"] == running
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bundled_policy_plans_from_what_runs_and_follows_the_fleet_and_its_settings() {
    let with = |settings: &[&str]| {
        let section = "plugins.config.default-capacity";
        let config = config("default-capacity");
        settings
            .iter()
            .fold(config, |config, line| config.set(section, line))
    };
    let router = started(&with(&[])).await;
    let shown = capacity(&router, "a plan for two", planned_from(2)).await;
    let plan = &shown["plan"];
    assert_eq!(
        shown["summary"], "need 1 server; nothing is foreseen to run out",
        "{shown}"
    );
    assert_eq!(plan["limits"], serde_json::json!([]), "{shown}");
    let load = &plan["reckonedFrom"];
    assert_eq!(
        (&load["instances"], &load["usage"]["running"]),
        (&2.into(), &2.into())
    );
    assert!(
        load["memoryTotalBytes"].as_u64() > load["memoryFreeBytes"].as_u64(),
        "{shown}"
    );
    let templates = load["templates"].as_array().unwrap();
    let running = templates.iter().map(|one| one["running"].as_u64().unwrap());
    assert_eq!((templates.len(), running.sum::<u64>()), (2, 2), "{shown}");

    let command = "godot-mcp-router capacity --url http://127.0.0.1:3002";
    let printed = shell::run(&router, command, &[]).await.fine().stdout;
    assert!(
        printed.ends_with("need 1 server; nothing is foreseen to run out\n"),
        "{printed}"
    );
    assert!(printed.contains("running"), "{printed}");
    let metrics = "curl -s http://localhost:3002/metrics | grep ^mcp_capacity_";
    let metrics = shell::run(&router, metrics, &[]).await.fine().stdout;
    let required = format!("mcp_capacity_required {}\n", plan["required"]);
    assert!(metrics.contains(&required), "{metrics} {shown}");
    assert!(
        metrics.contains("mcp_capacity_plan_by_policy 1\n"),
        "{metrics}"
    );

    router.post("/api/instances/second/stop").await;
    capacity(&router, "a plan for one", planned_from(1)).await;

    // Other numbers count at once, and limits are shown with what is left of them.
    router.write_config(&with(&["peak_multiplier = 50", "running_max = 3"]));
    router.post("/api/config/reload").await;
    let shown = capacity(&router, "a limit", |capacity| {
        capacity["plan"]["limits"][0]["most"] == 3
    })
    .await;
    let limit = &shown["plan"]["limits"][0];
    assert_eq!(
        (&limit["of"], &limit["used"], &limit["headroom"]),
        (&"running".into(), &1.into(), &2.into())
    );
    let reason = shown["plan"]["reason"].as_str().unwrap();
    assert!(reason.contains("x 50 at the peak"), "{shown}");
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_plan_is_refused_and_what_fails_leaves_the_built_in_rule() {
    let with = |mode: &str| {
        let section = "plugins.config.hostile-capacity";
        config("hostile-capacity").set(section, &format!("mode = \"{mode}\""))
    };
    let router = started(&with("well")).await;
    let good = |capacity: &Value| {
        let plan = &capacity["plan"];
        plan["policy"] == "hostile-capacity" && plan["required"] == 2
    };
    capacity(&router, "its plan", good).await;
    for (mode, reason) in [
        ("zero", "0 would let nothing start"),
        ("many", "more than 256 limits"),
    ] {
        router.write_config(&with(mode));
        router.post("/api/config/reload").await;
        let shown = capacity(&router, reason, |capacity| {
            let refused = capacity["refusedPlan"]["reason"].as_str();
            refused.is_some_and(|refused| refused.contains(reason))
        })
        .await;
        assert!(good(&shown), "the plan before stays: {shown}");
        assert!(router.log().contains("plan refused"), "{}", router.tail());
    }
    // One call past its bound puts it into quarantine: the built-in rule answers from the next question on.
    router.write_config(&with("loop"));
    router.post("/api/config/reload").await;
    let shown = capacity(&router, "a question without an answer", |capacity| {
        !capacity["unanswered"].is_null()
    })
    .await;
    assert_eq!(shown["unanswered"]["policy"], "hostile-capacity", "{shown}");
    let shown = capacity(&router, "the built-in rule", |capacity| {
        capacity["plan"]["policy"] == "builtin"
    })
    .await;
    let reason = shown["plan"]["reason"].as_str().unwrap();
    assert!(reason.contains("x 3 at the peak"), "{shown}");
    router.end().await;
}

/// A router of which two instances may run, and do; `idle` is when the second one idles out, `spawn` how long a start may wait.
fn limited(idle: &str, spawn: &str) -> Config {
    let second = peers::echo().named("second").autostart();
    let third = peers::echo().named("third");
    Config::new()
        .set("policy", "capacity = \"default-capacity\"")
        .set("plugins.config.default-capacity", "running_max = 2")
        .server(peers::echo().autostart())
        .server(second.with(&format!("idle_timeout = \"{idle}\"")))
        .server(third.with(&format!("spawn_timeout = \"{spawn}\"")))
        .server(peers::echo().named("fourth"))
}

/// Asks the third instance to begin, and gets no place.
async fn is_refused(router: &Router) {
    let answer = Session::new(&router.mcp_url("third"))
        .post(&initialize(1))
        .await;
    let error = &answer.response()["error"];
    let message = error["message"].as_str().unwrap_or_default();
    let limit =
        "2 of 2 running instances are in use, the limit of the capacity policy default-capacity";
    assert!(message.contains(limit), "{}", answer.text);
    assert!(message.contains("raise running_max"), "{}", answer.text);
    assert_eq!(error["data"]["state"], "capacity", "{}", answer.text);
    assert!(
        error["data"]["retryAfterMs"].as_u64() > Some(0),
        "{}",
        answer.text
    );
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_a_limit_a_start_waits_is_refused_by_name_and_comes_when_another_instance_idles_out() {
    let router = started(&limited("1h", "1s")).await;
    capacity(&router, "two of two", |capacity| {
        let limit = &capacity["plan"]["limits"][0];
        limit["most"] == 2 && limit["used"] == 2
    })
    .await;
    is_refused(&router).await;
    // The core's own clock may be a moment behind the client's.
    let shown = capacity(&router, "a refusal", |capacity| {
        capacity["refusals"]["lastHour"] == 1
    })
    .await;
    assert_eq!(shown["refusals"]["last"]["versionId"], "third", "{shown}");
    router
        .logged(&["start refused", "version_id: third"], SOON)
        .await;

    // An operator's start passes, and says so.
    let passed = router.post("/api/instances/fourth/start").await;
    let limit = passed["passedLimit"].as_str().unwrap_or_default();
    assert!(limit.starts_with("2 of 2 running instances"), "{passed}");
    let stopped = router.post("/api/instances/fourth/stop").await;
    assert!(stopped["passedLimit"].is_null(), "{stopped}");

    // A crash loses no place, though somebody waits for one.
    let victim = pid_of(&router.ready("echo").await);
    processes::kill(victim);
    is_refused(&router).await;
    router.ready_anew("echo", victim).await;

    // Who waits gets the place of what idles out.
    router.write_config(&limited("1h", "30s"));
    router.post("/api/config/reload").await;
    let url = router.mcp_url("third");
    let waiting = tokio::spawn(async move { Session::new(&url).post(&initialize(1)).await });
    capacity(&router, "one that waits", |capacity| {
        capacity["waiting"] == 1
    })
    .await;
    let third = router.instance("third").await;
    assert_eq!(third["status"], "idle", "{third}");
    router.write_config(&limited("1s", "30s"));
    router.post("/api/config/reload").await;
    let answer = waiting.await.unwrap();
    assert!(
        !answer.response()["result"].is_null(),
        "{}\n{}",
        answer.text,
        router.tail()
    );
    let second = router.instance("second").await;
    assert_eq!(second["status"], "idle", "{second}");
    router.end().await;
}
