//! What metrics say of alerts: read from a router whose receiver fails, and then answers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use router_tests::{
    Config, Router, peers,
    receivers::{Authority, PagerDuty, Receiver, Reply},
    until,
};
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);
const RULE: &str = "\"hostile-rule\"";
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// The metrics, line by line.
struct Scrape(String);

impl Scrape {
    async fn of(router: &Router) -> Self {
        let text = router.get("/api/metrics/prometheus").await;
        Self(text.as_str().unwrap().to_owned())
    }

    /// The value of a series, by its name and labels as they stand there.
    fn value(&self, series: &str) -> Option<f64> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(series))?;
        line.strip_prefix(' ')?.parse().ok()
    }

    /// Every series of alerts, by its name and labels.
    fn series(&self) -> Vec<&str> {
        let lines = self.0.lines().filter(|line| line.starts_with("mcp_alert"));
        lines
            .filter_map(|line| Some(line.split_once(' ')?.0))
            .collect()
    }
}

/// Waits until the series have these values.
async fn shows(router: &Router, what: &str, wanted: &[(&str, f64)]) -> Scrape {
    until(&format!("metrics that show {what}"), SOON, async || {
        let scrape = Scrape::of(router).await;
        for (series, value) in wanted {
            let shown = scrape.value(series);
            if shown != Some(*value) {
                let all = scrape.series().join("\n");
                return Err(format!(
                    "{series} is {shown:?} in\n{all}\n{}",
                    router.tail()
                ));
            }
        }
        Ok(scrape)
    })
    .await
}

/// A rule that names two P1, and PagerDuty beside the log.
fn config(rules: &str, pager: Option<(&Receiver, &Authority)>) -> Config {
    let config = Config::new()
        .set("alerts", &format!("rules = [{rules}]"))
        .set("plugins.config.hostile-rule", "mode = \"some\"")
        .set("plugins.config.hostile-rule", "count = 2")
        .plugin("pagerduty.wasm")
        .server(peers::echo());
    let Some((receiver, authority)) = pager else {
        return config;
    };
    let (url, ca_file) = (receiver.url(), authority.ca_file());
    config.tail(&format!(
        "[sink.pager]\nplugin = \"pagerduty\"\nsecrets = {{ routing_key = \"KEY\" }}\nrate = \"100/s\"\n\
         config = {{ url = \"{url}/v2/enqueue\" }}\nallow = [\"{url}\"]\nca_file = {ca_file:?}\n\
         grouping = \"none\""
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_waits_arrives_and_is_given_up_is_seen_and_outlives_a_kill() {
    let authority = Authority::new();
    let pager_duty = PagerDuty::with_keys(&[KEY]);
    let receiver = Receiver::start(&authority, pager_duty.clone()).await;
    for _ in 0..2 {
        pager_duty.next_is(Reply::text(503, "maintenance"));
    }
    // The rule is asked when the sink is loaded: a page before would wait for that.
    let with_pager = |rules| config(rules, Some((&receiver, &authority)));
    let mut router = Router::prepared(&with_pager(""), &[("KEY", KEY)]);
    let guest = router.path("plugins/hostile-rule.wasm");
    std::fs::copy(peers::guest("hostile-rule.wasm"), guest).unwrap();
    router.start_again().await;
    router
        .logged(&["plugin generation in service", "sink.pager"], SOON)
        .await;
    router.write_config(&with_pager(RULE));
    router.post("/api/config/reload").await;

    // Both fail at first, and wait.
    let waits = [
        ("mcp_alerts{severity=\"P1\",state=\"firing\"}", 2.0),
        ("mcp_alerts_fired_total{severity=\"P1\"}", 2.0),
        (
            "mcp_alert_delivery_attempts_total{sink=\"pager\",result=\"server_error\"}",
            2.0,
        ),
        ("mcp_alert_deliveries_waiting{sink=\"pager\"}", 2.0),
        (
            "mcp_alert_deliveries_total{sink=\"console\",outcome=\"delivered\"}",
            1.0,
        ),
        (
            "mcp_alert_first_delivery_seconds_count{severity=\"P1\"}",
            0.0,
        ),
    ];
    let failing = shows(&router, "two deliveries that wait", &waits).await;
    let oldest = "mcp_alert_delivery_oldest_seconds{sink=\"pager\"}";
    let age = failing.value(oldest).unwrap();
    assert!((0.0..60.0).contains(&age), "{age}");

    // They arrive with the second attempt.
    let arrived = [
        (
            "mcp_alert_deliveries_total{sink=\"pager\",outcome=\"delivered\"}",
            2.0,
        ),
        (
            "mcp_alert_delivery_attempts_total{sink=\"pager\",result=\"delivered\"}",
            2.0,
        ),
        ("mcp_alert_deliveries_waiting{sink=\"pager\"}", 0.0),
        (oldest, 0.0),
        (
            "mcp_alert_first_delivery_seconds_count{severity=\"P1\"}",
            2.0,
        ),
        // The first attempt was at once, the second four to six seconds later.
        (
            "mcp_alert_first_delivery_seconds_bucket{severity=\"P1\",le=\"2.5\"}",
            0.0,
        ),
        ("mcp_alert_loop_answering", 1.0),
        ("mcp_alert_journal_refusing", 0.0),
    ];
    let well = shows(&router, "two deliveries that arrived", &arrived).await;
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    let answered = well.value("mcp_alert_rule_answered_timestamp_seconds{rule=\"hostile-rule\"}");
    assert!(now_s - answered.unwrap() < 60.0, "{answered:?}");
    for counted in [
        "mcp_alert_rule_evaluation_seconds_count{rule=\"hostile-rule\"}",
        "mcp_alert_journal_writes_total",
        "mcp_alert_journal_bytes",
        "mcp_alert_journal_used_ratio",
    ] {
        assert!(
            well.value(counted).unwrap() > 0.0,
            "{counted} in\n{}",
            well.0
        );
    }
    let other_face = router.get("/metrics").await;
    let other_face = Scrape(other_face.as_str().unwrap().to_owned());
    assert_eq!(other_face.series(), well.series());

    // What PagerDuty refuses is a dead letter.
    pager_duty.next_is(Reply::text(400, "no"));
    let test = json!({"severity": "P4", "sink": "pager"});
    router
        .ask(Method::POST, "/api/alerts/test", Some(&test))
        .await;
    let dead = ("mcp_alert_dead_letters{sink=\"pager\"}", 1.0);
    let refused = [
        dead,
        (
            "mcp_alert_delivery_attempts_total{sink=\"pager\",result=\"client_error\"}",
            1.0,
        ),
        (
            "mcp_alert_deliveries_total{sink=\"pager\",outcome=\"dead_letter\"}",
            1.0,
        ),
    ];
    shows(&router, "a dead letter", &refused).await;

    // After a kill what is so is read from the journal, and what happened is counted from 0.
    router.kill().await;
    router.start_again().await;
    let kept = [
        ("mcp_alerts{severity=\"P1\",state=\"firing\"}", 2.0),
        dead,
        ("mcp_alerts_fired_total{severity=\"P1\"}", 0.0),
        (
            "mcp_alert_deliveries_total{sink=\"pager\",outcome=\"delivered\"}",
            0.0,
        ),
    ];
    shows(&router, "what the journal kept", &kept).await;

    // A sink that is configured no more has no series.
    router.write_config(&config(RULE, None));
    router.post("/api/config/reload").await;
    let without = Scrape::of(&router).await;
    let left = without.series();
    assert!(
        left.iter().all(|series| !series.contains("pager")),
        "{left:#?}"
    );
    assert!(left.contains(&"mcp_alert_deliveries_waiting{sink=\"console\"}"));
    router.end().await;
}
