//! What a policy keeps outlives routers and starts without the database; a policy in quarantine is reported until another one judges;
//! and one that condemns the whole fleet recycles it a fifth at a time.

use std::{fs, time::Duration};

use crate::database::{self, done};
use router_test_postgres::{Cluster, ClusterOptions};
use router_tests::{Config, Router, peers, until};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

/// A router whose policy is the guest in a mode.
fn config(mode: &str) -> Config {
    Config::new()
        .set("health", "disk_share = 1.0")
        .set("health", "interval = \"100ms\"")
        .set("policy", "health = \"hostile-health\"")
        .set(
            "plugins.config.hostile-health",
            &format!("mode = \"{mode}\""),
        )
        .server(peers::echo().autostart())
}

fn prepared(config: &Config) -> Router {
    let router = Router::prepared(config, &[]);
    let guest = peers::guest("hostile-health.wasm");
    fs::copy(guest, router.path("plugins/hostile-health.wasm")).unwrap();
    router
}

async fn plugin(router: &Router) -> Value {
    router.get("/api/plugins/hostile-health").await
}

/// Waits for a reason of the guest's verdict that is as wanted: the number in it.
async fn says(router: &Router, word: &str, wanted: impl Fn(u64) -> bool) -> u64 {
    until(&format!("a verdict that says {word:?}"), SOON, async || {
        let one = router.instance("echo").await;
        let reason = one["reason"].as_str().unwrap_or_default();
        let number = reason
            .strip_prefix(word)
            .and_then(|rest| rest.trim().parse().ok());
        match number {
            Some(number) if wanted(number) => Ok(number),
            _ => Err(format!(
                "{one}\n{}\n{}",
                plugin(router).await,
                router.tail()
            )),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_policy_keeps_outlives_routers() {
    let mut router = prepared(&config("count"));
    router.start_again().await;
    let before = says(&router, "count", |count| count >= 5).await;
    // Its end writes what waits.
    assert!(router.terminate().await.success());
    router.start_again().await;
    let after = says(&router, "count", |_| true).await;
    assert!(after > before, "{after} after {before}");
    // A kill loses a moment, and nothing from before it.
    says(&router, "count", |count| count >= after + 20).await;
    router.kill().await;
    router.start_again().await;
    let revived = says(&router, "count", |_| true).await;
    assert!(revived > after + 5, "{revived} after {after}");
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_policy_keeps_waits_for_the_database_at_the_end_and_at_the_start() {
    let cluster = database::cluster(ClusterOptions::default()).await;
    let database = cluster.fresh_database().unwrap();
    let url = format!("url = {:?}", cluster.url(&database));
    let on_postgres = |mode: &str| config(mode).set("storage", &url);
    let mut router = prepared(&on_postgres("count"));
    assert!(router.run(&["migrate"]).await.status.success());
    router.start_again().await;
    says(&router, "count", |count| count >= 5).await;

    // The database goes: the policy counts on, and what waits to be written is shown.
    done(&cluster, Cluster::stop).await;
    let unwritten = async |what: &str, wanted: u64| {
        until(what, SOON, async || {
            let shown = plugin(&router).await;
            if shown["unwrittenValues"] == wanted {
                Ok(())
            } else {
                Err(format!("{shown}\n{}", router.tail()))
            }
        })
        .await;
    };
    unwritten("a value that waits", 1).await;
    let meanwhile = says(&router, "count", |count| count >= 20).await;
    done(&cluster, Cluster::start_again).await;
    until("it to be written", SOON, async || {
        // The count as the guest keeps it: eight bytes, the lowest first.
        let sql = "SELECT get_byte(value, 0) + 256 * get_byte(value, 1) FROM godot_mcp_router.plugin_value";
        let written = cluster.query(&database, sql).map_err(|error| error.to_string())?;
        match written.trim().parse::<u64>() {
            Ok(written) if written >= meanwhile => Ok(()),
            _ => Err(format!("{written:?}, and it was {meanwhile}")),
        }
    })
    .await;

    // A router that starts without its database judges at once, and what was kept comes with the database.
    assert!(router.terminate().await.success());
    done(&cluster, Cluster::stop).await;
    router.write_config(&on_postgres("recall"));
    router.start_again().await;
    until("a verdict without the database", SOON, async || {
        let one = router.instance("echo").await;
        if one["reason"] == "recalls nothing" {
            Ok(())
        } else {
            Err(format!("{one}\n{}", router.tail()))
        }
    })
    .await;
    done(&cluster, Cluster::start_again).await;
    says(&router, "recalls", |count| count >= meanwhile).await;
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_in_quarantine_is_reported_until_another_one_judges() {
    let mut router = prepared(&config("loop"));
    router.start_again().await;
    let readiness_until = async |what: &str, status: &str| {
        until(what, SOON, async || {
            let readiness = router.readiness().await;
            if readiness["status"] == status {
                Ok(readiness)
            } else {
                Err(format!("{readiness}\n{}", router.tail()))
            }
        })
        .await
    };
    until("the quarantine", SOON, async || {
        let shown = plugin(&router).await;
        if shown["state"] == "quarantined" {
            Ok(())
        } else {
            Err(format!("{shown}\n{}", router.tail()))
        }
    })
    .await;
    let readiness = readiness_until("a degraded router", "degraded").await;
    let reasons = readiness["reasons"].to_string();
    assert!(reasons.contains("quarantine"), "{readiness}");
    // The built-in rule judges meanwhile.
    let one = router.instance("echo").await;
    assert_eq!(one["health"], "healthy", "{one}");
    router.write_config(&config("loop").set("policy", "health = \"builtin\""));
    router.post("/api/config/reload").await;
    readiness_until("a router that is well again", "healthy").await;
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_policies_the_worst_verdict_counts_and_one_that_fails_is_left_out() {
    let both = |mode: &str| {
        let config = config(mode).bundled_policy();
        config.set(
            "policy",
            "health = [\"default-health\", \"hostile-health\"]",
        )
    };
    let mut router = prepared(&both("files"));
    router.start_again().await;
    let judged = async |what: &str, health: &str, reason: &str| {
        until(what, SOON, async || {
            let one = router.instance("echo").await;
            let said = one["reason"].as_str().unwrap_or_default();
            if one["health"] == health && said.starts_with(reason) {
                Ok(())
            } else {
                Err(format!(
                    "{one}\n{}\n{}",
                    plugin(&router).await,
                    router.tail()
                ))
            }
        })
        .await;
    };
    let reason = "hostile-health: sees no files";
    judged("the worst of two verdicts", "degraded", reason).await;
    router.write_config(&both("trap"));
    router.post("/api/config/reload").await;
    judged("the verdict of the other one", "healthy", "").await;
    assert!(plugin(&router).await["failures"].as_u64() > Some(0));
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_condemns_the_fleet_recycles_a_fifth_at_a_time() {
    const INSTANCES: usize = 10;
    let id = |number: usize| format!("echo-{number}");
    let fleet = |mode: &str| {
        let numbers = 1..INSTANCES;
        let servers = numbers.map(|number| peers::echo().named(&id(number)).autostart());
        servers.fold(config(mode), Config::server)
    };
    let mut router = prepared(&fleet("nothing"));
    router.start_again().await;
    router.ready("echo").await;
    for number in 1..INSTANCES {
        router.ready(&id(number)).await;
    }
    router.write_config(&fleet("condemn"));
    router.post("/api/config/reload").await;
    // It is held, and only an operator puts it in force.
    until("a generation that is held", SOON, async || {
        let shown = plugin(&router).await;
        if shown["trial"]["state"] == "held" {
            Ok(())
        } else {
            Err(format!("{shown}\n{}", router.tail()))
        }
    })
    .await;
    assert_eq!(at_once(&router.log()), (0, 0, 0));
    router.post("/api/plugins/hostile-health/confirm").await;
    // Once each: an instance is recycled again only after ten minutes.
    until(
        "every instance to be recycled",
        SOON,
        async || match at_once(&router.log()) {
            (total, 0, most) if total == INSTANCES => Ok(most),
            counted => Err(format!("{counted:?}\n{}", router.tail())),
        },
    )
    .await;
    let (_, _, most) = at_once(&router.log());
    assert_eq!(most, INSTANCES / 5);
    router.end().await;
}

/// Of the instances that were recycled: how many in all, how many are not back, and how many were away at once at most.
fn at_once(log: &str) -> (usize, usize, usize) {
    let (mut total, mut away, mut most) = (0, 0, 0);
    for line in log
        .lines()
        .filter(|line| line.contains("instance state changed"))
    {
        if line.contains("state=draining") && line.contains("recycled: condemned") {
            total += 1;
            away += 1;
        } else if line.contains("from=starting state=ready") && total > 0 {
            away -= 1;
        }
        most = most.max(away);
    }
    (total, away, most)
}

/// What one of the program's commands prints.
async fn printed(mut command: tokio::process::Command) -> String {
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_is_not_there_or_refuses_its_settings_is_named_to_operators() {
    let config = |more: &str| {
        config("nothing")
            .set("plugins.config.hostile-health", more)
            .set("plugins.config.hostile-heath", "typo = true")
    };
    let mut router = Router::prepared(&config(""), &[]);
    router.start_again().await;
    let reasons_until = async |router: &Router, wanted: &[&str]| {
        until(&format!("readiness for {wanted:?}"), SOON, async || {
            let readiness = router.readiness().await;
            let reasons = readiness["reasons"].to_string();
            let is_degraded = readiness["status"] == "degraded";
            if is_degraded && wanted.iter().all(|word| reasons.contains(word)) {
                Ok(())
            } else {
                Err(format!("{readiness}\n{}", router.tail()))
            }
        })
        .await;
    };
    let commands = async |router: &Router, wanted: &[&str]| {
        for name in ["check", "doctor"] {
            let mut command = router.command();
            command.arg(name).arg("--config").arg(router.config_path());
            let said = printed(command).await;
            for word in wanted {
                assert!(said.contains(word), "{name} does not say {word}:\n{said}");
            }
            assert!(
                said.contains("did you mean \"hostile-health\"?"),
                "{name}: {said}"
            );
        }
        let mut list = router.command();
        list.args(["plugin", "--url", &router.url(""), "list"]);
        let said = printed(list).await;
        for word in wanted {
            assert!(said.contains(word), "the list does not say {word}:\n{said}");
        }
    };
    let missing = ["hostile-health", "holds no hostile-health.wasm"];
    reasons_until(&router, &missing).await;
    commands(&router, &missing).await;
    let warned = ["plugin settings without a plugin", "hostile-heath"];
    router.logged(&warned, SOON).await;

    let guest = peers::guest("hostile-health.wasm");
    fs::copy(guest, router.path("plugins/hostile-health.wasm")).unwrap();
    router.write_config(&config("at_load = \"refuse\""));
    router.post("/api/config/reload").await;
    let refused = [
        "hostile-health",
        "plugins.config.hostile-health.at_load is refused",
    ];
    reasons_until(&router, &refused).await;
    commands(&router, &refused).await;

    router.write_config(&config("at_load = \"accept\""));
    router.post("/api/config/reload").await;
    until("a router that is well", SOON, async || {
        let readiness = router.readiness().await;
        match readiness["status"].as_str() {
            Some("healthy") => Ok(()),
            _ => Err(format!("{readiness}\n{}", router.tail())),
        }
    })
    .await;
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_policy_prints_and_the_message_of_its_panic_are_shown() {
    let mut router = prepared(&config("print"));
    router.start_again().await;
    for line in [
        ["plugin stdout", "said on standard output"],
        ["plugin stderr", "said on standard error"],
    ] {
        router.logged(&line, SOON).await;
    }
    router.write_config(&config("forged-panic"));
    router.post("/api/config/reload").await;
    let shown = until("a failure", SOON, async || {
        let shown = plugin(&router).await;
        if shown["lastFailure"].is_object() {
            Ok(shown)
        } else {
            Err(format!("{shown}\n{}", router.tail()))
        }
    })
    .await;
    let failure = &shown["lastFailure"];
    assert_eq!(
        (&failure["kind"], &failure["generation"]),
        (&"trap".into(), &2.into())
    );
    assert!(
        failure["printed"].as_str().unwrap().contains("panicked at"),
        "{shown}"
    );
    let reason = shown["lastError"].as_str().unwrap();
    assert!(
        reason.contains("it printed: ") && reason.contains("forged"),
        "{shown}"
    );
    assert_eq!(failure["reason"], reason);
    // What looks like a line of the log is part of one, whatever the guest prints.
    router.logged(&["plugin stderr", "forged"], SOON).await;
    let log = router.log();
    let forged = log.lines().filter(|line| line.contains("forged"));
    for line in forged {
        assert!(line.contains("hostile-health"), "{line}");
    }
    router.end().await;
}
