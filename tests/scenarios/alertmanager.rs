//! The bundled sink that feeds an Alertmanager, judged by Debian's: what fires arrives with its labels and stays, a changed severity is
//! another alert there, its own silences are its own affair, and what is over is over there too.

use std::time::Duration;

use router_tests::{
    Config, Router, peers,
    receivers::{Alertmanager, Authority},
    until,
};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);
const NAME: &str = "InstanceCrashLoop";
const DAY_MS: i64 = 86_400_000;

fn config(judge: &Alertmanager) -> Config {
    let url = judge.url();
    Config::new()
        .set("health", "disk_share = 1.0")
        .set("plugins.config.default-alerts", "disk_share = 1.0")
        .set("instances.restart", "initial = \"200ms\"")
        .set("alerts", "resolve_after = \"1s\"")
        .set("alerts", "runbook_url = \"https://wiki.example.org/runbook\"")
        .bundled_alerts()
        .plugin("alertmanager.wasm")
        .server(peers::echo().autostart())
        .server(
            peers::scripted(&["--exit", "3"])
                .named("looping")
                .autostart(),
        )
        .tail(&format!(
            "[sink.prometheus]\nplugin = \"alertmanager\"\nconfig = {{ url = \"{url}\" }}\nallow = [\"{url}\"]"
        ))
}

async fn arrived(
    judge: &Alertmanager,
    router: &Router,
    labels: &[(&str, &str)],
    count: usize,
) -> Vec<Value> {
    until(
        &format!("{count} alerts with {labels:?}"),
        SOON,
        async || {
            let alerts = judge.alerts(labels).await;
            if alerts.len() == count {
                return Ok(alerts);
            }
            Err(format!("{alerts:#?}\n{}", router.tail()))
        },
    )
    .await
}

fn ms(time: &Value) -> i64 {
    let text = time.as_str().unwrap_or_else(|| panic!("no time: {time}"));
    router_values::parse_rfc3339_ms(text).unwrap_or_else(|| panic!("no time: {text}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_lives_and_ends_at_an_alertmanager_as_it_does_here() {
    let authority = Authority::new();
    let judge = Alertmanager::start(&authority).await;
    let router = Router::start(&config(&judge)).await;

    let labels = [("alertname", NAME), ("instance", "looping")];
    let one = arrived(&judge, &router, &labels, 1).await.remove(0);
    assert_eq!(one["labels"]["severity"], "P2", "{one}");
    assert_eq!(one["labels"]["key"], format!("{NAME}/looping"), "{one}");
    assert_eq!(one["status"]["state"], "active", "{one}");
    let annotations = &one["annotations"];
    assert!(
        annotations["summary"]
            .as_str()
            .unwrap()
            .contains("crash loop"),
        "{one}"
    );
    assert!(
        !annotations["description"].as_str().unwrap().is_empty(),
        "{one}"
    );
    assert_eq!(
        annotations["runbook_url"],
        "https://wiki.example.org/runbook#crash-loop"
    );
    let known = router.get("/api/alerts").await["alerts"].clone();
    let known = known.as_array().unwrap().iter();
    let known = known.clone().find(|alert| alert["name"] == NAME).unwrap();
    // Sinks write whole seconds.
    assert_eq!(ms(&one["startsAt"]) / 1_000, ms(&known["since"]) / 1_000);
    // Nobody repeats it there, and so it holds by itself over more than a weekend.
    assert!(
        ms(&one["endsAt"]) > ms(&one["startsAt"]) + 6 * DAY_MS,
        "{one}"
    );

    // Its silence mutes it there, and says nothing here.
    judge
        .silence(
            "instance",
            "looping",
            ("2026-01-01T00:00:00Z", "2099-01-01T00:00:00Z"),
        )
        .await;
    until("the silence to hold", SOON, async || {
        let one = judge.alerts(&labels).await.remove(0);
        let state = one["status"]["state"].clone();
        (state == "suppressed").then_some(()).ok_or(one.to_string())
    })
    .await;
    let shown = router.get("/api/alerts").await;
    assert_eq!(shown["alerts"][0]["state"], "firing", "{shown}");

    // Labels are what an alert is known by there: with another severity it is another alert, and the one before is over.
    let graver = config(&judge).set(
        "plugins.config.default-alerts",
        "severity.InstanceCrashLoop = \"P1\"",
    );
    router.write_config(&graver);
    router.post("/api/config/reload").await;
    let graver = [labels[0], labels[1], ("severity", "P1")];
    arrived(&judge, &router, &graver, 1).await;
    arrived(&judge, &router, &labels, 1).await;

    // A test is marked, and ends by itself.
    let mut command = router.command();
    command
        .args(["alerts", "test", "--sink", "prometheus"])
        .env("GODOT_MCP_ROUTER_URL", router.url(""));
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim(), "prometheus: arrived");
    let test = arrived(&judge, &router, &[("test", "true")], 1)
        .await
        .remove(0);
    assert_eq!(test["labels"]["severity"], "P4", "{test}");
    assert!(
        ms(&test["endsAt"]) <= ms(&test["startsAt"]) + 61_000,
        "{test}"
    );

    // It is over, and a receiver there hears of it too.
    router.post("/api/instances/looping/stop").await;
    arrived(&judge, &router, &labels, 0).await;
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_receiver_of_an_alertmanager_hears_of_the_end() {
    let authority = Authority::new();
    let judge = Alertmanager::start(&authority).await;
    let router = Router::start(&config(&judge)).await;
    let notified = async |wanted: &[&str]| {
        until(&format!("notifications {wanted:?}"), SOON, async || {
            let notified = judge.notified(NAME);
            let states: Vec<&str> = notified.iter().map(|(state, _)| &**state).collect();
            if states == wanted {
                return Ok(());
            }
            Err(format!("{notified:?}\n{}", router.tail()))
        })
        .await;
    };
    notified(&["firing"]).await;
    router.post("/api/instances/looping/stop").await;
    notified(&["firing", "resolved"]).await;
    router.end().await;
}
