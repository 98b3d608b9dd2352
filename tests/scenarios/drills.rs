//! The drills of docs/runbook.md, as they stand in it, on a real router with real instances: on SQLite and on Postgres. Of each: that it
//! is notified, where and how; that the API, the metrics and the log say what the section says they do; and that what the message says to
//! do ends it.
//!
//! They are done beside each other, for instances fail independently; the one in which all of them fail comes last.

mod site;

use router_test_postgres::Cluster;
use router_tests::{pid_of, until};
use serde_json::{Value, json};

use crate::database::done;
use site::{SOON, Site};

/// The blocks of the runbook that are run here.
pub(crate) const BLOCKS: [&str; 32] = [
    "ack",
    "deliveries",
    "drill-breaker",
    "drill-breaker-end",
    "drill-config",
    "drill-connections",
    "drill-crash-loop",
    "drill-crash-loop-end",
    "drill-database",
    "drill-database-end",
    "drill-disk",
    "drill-disk-end",
    "drill-files",
    "drill-memory",
    "drill-memory-end",
    "drill-p1",
    "drill-p1-end",
    "drill-p2",
    "drill-p2-end",
    "drill-p3",
    "drill-p3-end",
    "drill-pool",
    "drill-pool-end",
    "drill-settings",
    "drill-settings-end",
    "drill-silent",
    "drill-silent-end",
    "drill-spawn",
    "drill-spawn-end",
    "drill-together",
    "drill-together-end",
    "silence",
];

const INSTANCES: [&str; 5] = ["one", "two", "three", "four", "five"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_drills_on_sqlite() {
    let site = Site::start(None).await;
    drills(site, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_drills_on_postgres() {
    let cluster = site::cluster().await;
    let database = cluster.fresh_database().unwrap();
    let site = Site::start(Some(&cluster.url(&database))).await;
    drills(site, Some(&cluster)).await;
}

async fn drills(mut site: Site, cluster: Option<&std::sync::Arc<Cluster>>) {
    for id in INSTANCES.into_iter().chain(["leaking"]) {
        site.router.ready(id).await;
    }
    let database = async {
        match cluster {
            Some(cluster) => postgres(&site, cluster).await,
            None => sqlite(&site).await,
        }
    };
    tokio::join!(
        errors_and_slowness(&site),
        breaker(&site),
        silence(&site),
        crash_loop(&site),
        does_not_start(&site),
        leak(&site),
        settings(&site),
        database,
    );
    site.router.post("/api/instances/leaking/stop").await;
    have_one_cause(&site).await;
    all_fail(&site).await;
    let pages = site.pages();
    let twice: Vec<_> = pages.iter().filter(|(_, count)| **count > 1).collect();
    assert!(pages.len() > 5 && twice.is_empty(), "{pages:#?}");
    site.router.end().await;
}

async fn errors_and_slowness(site: &Site) {
    let router = &site.router;
    site.run("drill-p2").await;
    let share = router.instance("one").await["errorRate"].as_f64();
    assert!(share > Some(0.05), "{share:?}");
    assert!(site.metric("mcp_errors_total{kind=\"timeout\"").await >= 8.0);
    router.logged(&["TIMEOUT", "version_id: one"], SOON).await;
    let all = site.fires("HighErrorRate", None).await;
    let of_one = site.fires("InstanceErrors", Some("one")).await;
    assert_eq!(
        (&all["severity"], &of_one["severity"]),
        (&json!("P2"), &json!("P2"))
    );

    site.run("drill-p3").await;
    let p95 = router.instance("two").await["p95Ms"].as_f64();
    assert!(p95 > Some(200.0), "{p95:?}");
    let slow = site.fires("SlowRequests", None).await;
    let of_two = site.fires("InstanceSlow", Some("two")).await;
    assert_eq!(
        (&slow["severity"], &of_two["severity"]),
        (&json!("P3"), &json!("P3"))
    );

    site.run("drill-p2-end").await;
    site.run("drill-p3-end").await;
    for alert in [all, of_one, slow, of_two] {
        site.resolves(&alert).await;
    }
}

async fn breaker(site: &Site) {
    let router = &site.router;
    let shown = site.run("drill-breaker").await;
    assert!(shown.contains("OPEN"), "{shown}");
    router
        .logged(&["circuit breaker", "OPEN", "version_id: three"], SOON)
        .await;
    let alert = site.fires("InstanceBreaker", Some("three")).await;
    assert_eq!(alert["severity"], "P3", "{alert}");
    router
        .instance_until("three", "HALF_OPEN", SOON, |one| {
            let reason = one["circuitBreaker"]["reason"].as_str().unwrap_or_default();
            one["circuitBreakerState"] == "HALF_OPEN"
                && reason.starts_with("waiting for an answer to a ping")
        })
        .await;
    router
        .logged(&["circuit breaker", "HALF_OPEN", "version_id: three"], SOON)
        .await;
    assert!(
        site.metric("mcp_circuit_breaker_state{instance=\"three\"")
            .await
            > 0.0
    );
    let shown = site.run("drill-breaker-end").await;
    assert!(shown.contains("\"openings\":0"), "{shown}");
    site.resolves(&alert).await;
}

async fn silence(site: &Site) {
    let before = pid_of(&site.router.instance("four").await);
    site.run("drill-silent").await;
    let alert = site.fires("InstanceSilent", Some("four")).await;
    assert_eq!(alert["severity"], "P2", "{alert}");
    site.run("drill-silent-end").await;
    site.router.ready_anew("four", before).await;
    site.resolves(&alert).await;
}

async fn crash_loop(site: &Site) {
    let router = &site.router;
    site.run("drill-crash-loop").await;
    let alert = site.fires("InstanceCrashLoop", Some("five")).await;
    assert_eq!(alert["severity"], "P2", "{alert}");
    let crashes = router.get("/api/instances/five/crashes").await;
    assert!(
        crashes["crashes"][0].to_string().contains("projects/five"),
        "{crashes}"
    );
    assert!(site.metric("mcp_instances_crash_loop").await > 0.0);
    assert!(
        site.metric("mcp_alerts{severity=\"P2\",state=\"firing\"}")
            .await
            > 0.0
    );
    router
        .logged(
            &["Entering crash loop protection", "version_id: five"],
            SOON,
        )
        .await;
    let id = alert["id"].as_str().unwrap();
    site.run_for("ack", id).await;
    until("the acknowledgement", SOON, async || {
        let now = router.get(&format!("/api/alerts/{id}")).await;
        (now["state"] == "acknowledged")
            .then_some(())
            .ok_or_else(|| now.to_string())
    })
    .await;
    site.run("drill-crash-loop-end").await;
    router.ready("five").await;
    site.resolves(&alert).await;
}

async fn does_not_start(site: &Site) {
    let router = &site.router;
    site.run("drill-spawn").await;
    let alert = site.fires("InstanceCrashLoop", Some("six")).await;
    let error = router.instance("six").await["lastError"].to_string();
    assert!(error.contains("Spawn failed"), "{error}");
    assert!(site.metric("mcp_errors_total{kind=\"spawn\"").await >= 3.0);
    site.run("drill-spawn-end").await;
    router.ready("six").await;
    site.resolves(&alert).await;
}

/// What the message says, on an instance that has really leaked.
async fn leak(site: &Site) {
    let router = &site.router;
    let before = pid_of(&router.instance("leaking").await);
    router
        .session("leaking")
        .await
        .call("grow", &json!({"mb": 165}))
        .await;
    let alert = site.fires("InstanceMemory", Some("leaking")).await;
    assert_eq!(alert["severity"], "P3", "{alert}");
    assert!(router.instance("leaking").await["memoryMb"].as_f64() > Some(160.0));
    router.post("/api/instances/leaking/restart").await;
    router.ready_anew("leaking", before).await;
    site.resolves(&alert).await;
    let shown = site.run_for("silence", "leaking").await;
    assert!(
        shown.contains("it would mute no alert that is open now"),
        "{shown}"
    );
    let silences = router.get("/api/silences").await;
    assert_eq!(
        silences["silences"][0]["matcher"]["instance"],
        json!(["leaking"]),
        "{silences}"
    );
}

/// What is done with the configuration, and a sink whose address was withdrawn meanwhile.
async fn settings(site: &Site) {
    for drill in ["drill-memory", "drill-disk", "drill-settings"] {
        site.run(drill).await;
    }
    let memory = site.fires("InstanceMemory", Some("one")).await;
    let disk = site.fires("DiskNearlyFull", None).await;
    let refused = site.fires("PluginRefusesSettings", None).await;
    for alert in [&memory, &disk, &refused] {
        assert_eq!(alert["severity"], "P3", "{alert}");
    }

    let gone = site.fires("SinkGone", None).await;
    assert_eq!(gone["severity"], "P2", "{gone}");
    assert!(gone["summary"].to_string().contains("no_service"), "{gone}");
    let remedy = gone["remedy"].to_string();
    assert!(remedy.contains("alerts test --sink spare"), "{gone}");
    site.renew_spare();
    site.router.post("/api/config/reload").await;
    until("what waited for the new address", SOON, async || {
        let text = json!(site.spare.messages()).to_string();
        let has_come = text.contains("PluginRefusesSettings");
        has_come.then_some(()).ok_or(text)
    })
    .await;
    let shown = site.run("deliveries").await;
    assert!(shown.contains("chat: arrived"), "{shown}");
    for end in ["drill-memory-end", "drill-disk-end", "drill-settings-end"] {
        site.run(end).await;
    }
    for alert in [gone, memory, disk, refused] {
        site.resolves(&alert).await;
    }
}

async fn sqlite(site: &Site) {
    site.run("drill-database").await;
    let alert = site.fires("DatabaseLost", None).await;
    is_lost(site, &alert).await;
    site.run("drill-database-end").await;
    site.resolves(&alert).await;
}

async fn postgres(site: &Site, cluster: &std::sync::Arc<Cluster>) {
    site.run("drill-connections").await;
    let shown = site.run("drill-pool").await;
    assert!(
        shown.contains("no available connections in pool"),
        "{shown}"
    );
    let pool = site.fires("PoolNearlyFull", None).await;
    let connections = site.fires("ManyConnections", None).await;
    // The same statement ends both.
    site.run("drill-pool-end").await;
    site.resolves(&pool).await;
    site.resolves(&connections).await;

    done(cluster, Cluster::stop).await;
    let alert = site.fires("DatabaseLost", None).await;
    is_lost(site, &alert).await;
    done(cluster, Cluster::start_again).await;
    site.resolves(&alert).await;
}

async fn is_lost(site: &Site, alert: &Value) {
    assert_eq!(alert["severity"], "P2", "{alert}");
    let summary = alert["summary"].as_str().unwrap();
    assert!(summary.len() > "the database is lost: ".len(), "{summary}");
    let readiness = site.router.readiness().await;
    assert_eq!(readiness["database"], "disconnected", "{readiness}");
    assert!(site.metric("mcp_errors_total{kind=\"database\"").await > 0.0);
    site.router
        .logged(&["ERROR", "database disconnected"], SOON)
        .await;
    site.router.session("one").await;
}

/// What hangs together is one alert beside those of the instances, and ends as soon as half of them answer.
async fn have_one_cause(site: &Site) {
    let shown = site.run("drill-together").await;
    assert!(shown.contains("so they have one cause"), "{shown}");
    let alert = site.fires("BreakersOpenedTogether", None).await;
    assert_eq!(alert["severity"], "P2", "{alert}");
    site.run("drill-together-end").await;
    site.resolves(&alert).await;
}

/// One page for all of them, and none for each.
async fn all_fail(site: &Site) {
    let router = &site.router;
    let before = site.messages_about("InstanceCrashLoop");
    site.run("drill-p1").await;
    let alert = site.fires("AllInstancesFailing", None).await;
    assert_eq!(alert["severity"], "P1", "{alert}");
    let muted = until("a crash loop that is muted", SOON, async || {
        let all = router.get("/api/alerts").await;
        let alerts = all["alerts"].as_array().unwrap();
        let is_muted =
            |one: &&Value| one["name"] == "InstanceCrashLoop" && one["state"] == "firing";
        let all_muted: Vec<_> = alerts.iter().filter(is_muted).cloned().collect();
        match all_muted.len() {
            6 => Ok(all_muted),
            _ => Err(all.to_string()),
        }
    })
    .await;
    for one in muted {
        assert_eq!(one["muted"]["by"], "inhibition", "{one}");
    }
    until("readiness to be down", SOON, async || {
        let path = "/api/health/readiness";
        let (status, readiness) = router.ask(reqwest::Method::GET, path, None).await;
        let is_down = status == 503 && readiness["status"] == "down";
        is_down.then_some(()).ok_or_else(|| readiness.to_string())
    })
    .await;
    let fleet = router.get("/api/health/mcp").await;
    assert_eq!(fleet["summary"]["crashLoopInstances"], 6, "{fleet}");
    site.run("drill-p1-end").await;
    for id in INSTANCES {
        router.ready(id).await;
    }
    site.resolves(&alert).await;
    assert_eq!(site.messages_about("InstanceCrashLoop"), before);
}
