//! Alerts in the database: what fired and was over while that was away, and while the router was killed, is there afterwards, each firing
//! and each delivery once and in order; and it can be asked for when the router itself has forgotten it.

use std::{
    collections::BTreeSet,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use router_test_postgres::{Cluster, ClusterOptions};
use router_tests::{Config, Router, peers, until};
use serde_json::{Value, json};

use crate::database::{self, done};

const SOON: Duration = Duration::from_secs(90);
const NAME: &str = "InstanceCrashLoop";

/// Which database, and how it is taken away and given back.
enum Database {
    Postgres(Arc<Cluster>, String),
    Sqlite,
}

/// What a SQLite database is made of.
const FILES: [&str; 3] = ["router.db", "router.db-wal", "router.db-shm"];

impl Database {
    async fn postgres() -> Self {
        let cluster = database::cluster(ClusterOptions::default()).await;
        let name = cluster.fresh_database().unwrap();
        Self::Postgres(cluster, name)
    }

    async fn take_away(&self, router: &Router) {
        match self {
            Self::Postgres(cluster, _) => done(cluster, Cluster::stop).await,
            Self::Sqlite => {
                fs::create_dir(router.path("away")).unwrap();
                for file in FILES {
                    let (from, to) = (format!("data/{file}"), format!("away/{file}"));
                    let moved = fs::rename(router.path(&from), router.path(&to));
                    // There may be no log.
                    assert!(moved.is_ok() || file != FILES[0], "{moved:?}");
                }
                fs::write(router.path("data/router.db"), "no database".repeat(500)).unwrap();
            }
        }
        is(router, "disconnected").await;
    }

    async fn give_back(&self, router: &Router) {
        match self {
            Self::Postgres(cluster, _) => done(cluster, Cluster::start_again).await,
            Self::Sqlite => {
                for file in FILES {
                    let to = router.path(&format!("data/{file}"));
                    let _ = fs::remove_file(&to);
                    let _ = fs::rename(router.path(&format!("away/{file}")), &to);
                }
            }
        }
    }
}

async fn is(router: &Router, database: &str) {
    until(&format!("the database {database}"), SOON, async || {
        let readiness = router.readiness().await;
        let is_so = readiness["database"] == database;
        is_so.then_some(()).ok_or_else(|| router.tail())
    })
    .await;
}

/// An instance that crashes when it is started, beside one that works.
fn config() -> Config {
    Config::new()
        .set("health", "disk_share = 1.0")
        .set("plugins.config.default-alerts", "disk_share = 1.0")
        .set("instances.restart", "initial = \"100ms\"")
        .set("alerts", "resolve_after = \"1s\"")
        .set("alerts", "group_interval = \"1s\"")
        .bundled_alerts()
        .server(peers::echo().autostart())
        .server(peers::scripted(&["--exit", "3"]).named("looping"))
}

/// The crash loop's alert, once it is so in that firing.
async fn crash_loop(router: &Router, firing: u32, state: &str) -> Value {
    let what = format!("firing {firing} {state}");
    until(&what, SOON, async || {
        let all = router.get("/api/alerts?state=all").await;
        let mut alerts = all["alerts"].as_array().unwrap().iter();
        let is_it =
            |one: &&Value| one["name"] == NAME && one["firing"] == firing && one["state"] == state;
        let found = alerts.find(is_it).cloned();
        found.ok_or_else(|| format!("{all}\n{}", router.tail()))
    })
    .await
}

/// Past firings of crash loops, the latest first, once there are so many.
async fn past(router: &Router, count: usize) -> Vec<Value> {
    until(&format!("{count} past firings"), SOON, async || {
        let page = router.get("/api/alerts?state=resolved").await;
        let alerts = page["alerts"].as_array().unwrap().iter();
        let found: Vec<Value> = alerts.filter(|one| one["name"] == NAME).cloned().collect();
        if found.len() == count {
            Ok(found)
        } else {
            Err(format!("{page}\n{}", router.tail()))
        }
    })
    .await
}

/// One firing as the database has it, once its deliveries are there.
async fn shown(router: &Router, id: &str, firing: u32) -> Value {
    let path = format!("/api/alerts/{id}?firing={firing}");
    until(
        &format!("deliveries of firing {firing}"),
        SOON,
        async || {
            let shown = router.get(&path).await;
            let ended = shown["deliveries"]["ended"].as_array();
            let ended = ended.cloned().unwrap_or_default();
            let has = |occasion: &str| {
                let is_it =
                    |one: &Value| one["occasion"] == occasion && one["outcome"] == "delivered";
                ended.iter().any(is_it)
            };
            if has("firing") && has("resolved") {
                Ok(shown)
            } else {
                Err(format!("{shown}\n{}", router.tail()))
            }
        },
    )
    .await
}

async fn check(database: Database) {
    let config = match &database {
        Database::Postgres(cluster, name) => {
            config().set("storage", &format!("url = {:?}", cluster.url(name)))
        }
        Database::Sqlite => config(),
    };
    let mut router = Router::prepared(&config, &[]);
    let migrated = router.run(&["migrate"]).await;
    assert!(migrated.status.success(), "{migrated:?}");
    router.start_again().await;
    router.ready("echo").await;
    is(&router, "connected").await;

    // One firing from its beginning to its end while the database is away.
    database.take_away(&router).await;
    router.post("/api/instances/looping/start").await;
    let first = crash_loop(&router, 1, "firing").await;
    let id = first["id"].as_str().unwrap().to_owned();
    router.post("/api/instances/looping/stop").await;
    crash_loop(&router, 1, "resolved").await;
    router.kill().await;

    // The next router knows of it, and another firing begins. It is killed as well.
    router.start_again().await;
    crash_loop(&router, 1, "resolved").await;
    router.post("/api/instances/looping/start").await;
    crash_loop(&router, 2, "firing").await;
    router.kill().await;

    // The database comes back.
    database.give_back(&router).await;
    router.start_again().await;
    is(&router, "connected").await;
    crash_loop(&router, 2, "resolved").await;
    let firings = past(&router, 2).await;
    let numbers: Vec<&Value> = firings.iter().map(|one| &one["firing"]).collect();
    assert_eq!(numbers, [&json!(2), &json!(1)]);
    let mut deliveries = BTreeSet::new();
    for firing in 1..=2 {
        let shown = shown(&router, &id, firing).await;
        assert_eq!(shown["versionId"], "looping", "{shown}");
        let ended = shown["deliveries"]["ended"].as_array().unwrap();
        for one in ended {
            assert_eq!(one["sink"], "console", "{one}");
            assert!(one["firstAttempt"].is_string(), "{one}");
            assert!(deliveries.insert(one["id"].to_string()), "twice: {one}");
        }
        let story = shown["story"].to_string();
        assert!(story.contains("fires as P2"), "{story}");
        assert!(story.contains("resolved: "), "{story}");
    }
    // That the database was away is an alert of its own, and over.
    until("the database's own row", SOON, async || {
        let page = router.get("/api/alerts?state=resolved").await;
        let mut alerts = page["alerts"].as_array().unwrap().iter();
        let found = alerts.any(|one| one["rule"] == "default-alerts" && one["versionId"].is_null());
        found.then_some(()).ok_or_else(|| page.to_string())
    })
    .await;

    // What happened is in the history too.
    let history = router
        .get("/api/history?axis=delivery&instance=looping")
        .await;
    let rows = history["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["sink"] == "console"), "{history}");
    let arrived = rows.iter().filter(|row| row["to"] == "delivered").count();
    assert!(arrived >= 3, "{history}");
    let history = router.get("/api/history?axis=alert&instance=looping").await;
    let is_named = |row: &Value| row["alert"] == NAME;
    assert!(history["rows"].as_array().unwrap().iter().all(is_named));
    router.kill().await;

    // A start brings up to date what the database has of alerts that the journal knows, whatever became of it.
    if let Database::Postgres(cluster, name) = &database {
        let older =
            "UPDATE godot_mcp_router.alert SET state = 'firing', epoch = 0 WHERE firing = 2";
        cluster.query(name, older).unwrap();
        router.start_again().await;
        is(&router, "connected").await;
        past(&router, 2).await;
        router.kill().await;
    }

    // The journal is lost: the database knows what was, and no number comes twice.
    fs::remove_dir_all(router.path("data/alerts")).unwrap();
    router.start_again().await;
    is(&router, "connected").await;
    past(&router, 2).await;
    shown(&router, &id, 1).await;
    router.post("/api/instances/looping/start").await;
    let third = crash_loop(&router, 3, "firing").await;
    assert_eq!(third["id"], id.as_str());
    if let Database::Postgres(cluster, name) = &database {
        let rows = "SELECT string_agg(firing::text || ' ' || state, ', ' ORDER BY seq) \
                    FROM godot_mcp_router.alert WHERE name = 'InstanceCrashLoop'";
        until("three rows", SOON, async || {
            let rows = cluster.query(name, rows).unwrap();
            let is_so = rows == "1 resolved, 2 resolved, 3 firing";
            is_so.then_some(()).ok_or(rows)
        })
        .await;
    }
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_without_the_database_is_in_it_once_and_in_order_on_postgres() {
    check(Database::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_without_the_database_is_in_it_once_and_in_order_on_sqlite() {
    check(Database::Sqlite).await;
}

/// A database that takes connections and answers nothing: the worst kind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_holds_up_no_alert_and_nobody_who_asks_about_one() {
    let Database::Postgres(cluster, name) = Database::postgres().await else {
        unreachable!();
    };
    let config = config().set("storage", &format!("url = {:?}", cluster.url(&name)));
    let mut router = Router::prepared(&config, &[]);
    let migrated = router.run(&["migrate"]).await;
    assert!(migrated.status.success(), "{migrated:?}");
    router.start_again().await;
    router.ready("echo").await;
    is(&router, "connected").await;

    done(&cluster, Cluster::freeze).await;
    router.post("/api/instances/looping/start").await;
    let line = ["alert", NAME, "state=firing"];
    router.logged(&line, SOON).await;
    let firing = crash_loop(&router, 1, "firing").await;
    let path = format!("/api/alerts/{}", firing["id"].as_str().unwrap());
    let asked = Instant::now();
    let shown = router.get(&path).await;
    assert!(asked.elapsed() < Duration::from_secs(10), "{shown}");
    assert_eq!(shown["deliveries"]["ended"], Value::Null, "{shown}");
    let acknowledged = router.post(&format!("{path}/ack")).await;
    assert_eq!(acknowledged["state"], "acknowledged", "{acknowledged}");

    done(&cluster, Cluster::thaw).await;
    until("what was delivered meanwhile", SOON, async || {
        let shown = router.get(&path).await;
        let ended = shown["deliveries"]["ended"].as_array();
        let has_come = ended.is_some_and(|ended| ended.len() >= 2);
        has_come.then_some(()).ok_or_else(|| shown.to_string())
    })
    .await;
    let row = "SELECT state || ' by ' || acknowledged_by FROM godot_mcp_router.alert WHERE name = 'InstanceCrashLoop'";
    assert_eq!(
        cluster.query(&name, row).unwrap(),
        "acknowledged by loopback"
    );
    router.end().await;
}
