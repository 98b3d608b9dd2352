//! Alert rules that fail: whatever they do, no alert is resolved by it. Each stays, is marked stale and escalates, until its rule answers
//! again; only a rule that is taken out of `alerts.rules` ends what it named.

use std::{collections::BTreeSet, fs, time::Duration};

use reqwest::Method;
use router_tests::{
    Config, Router, peers,
    receivers::{Authority, Receiver, Webhooks},
    until,
};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

/// A rule counts as silent after a minute, on a machine that is busy with other tests.
const SILENT_WITHIN: Duration = Duration::from_secs(180);

/// Escalation comes when the rules have been silent for long.
const ESCALATES_AFTER: &str = "90s";

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The rules of a scenario, each a copy of the guest with settings of its own that names one alert.
struct Rules {
    hook: String,
    ca_file: std::path::PathBuf,
    named: Vec<&'static str>,
    /// What each does that does not answer as it should.
    modes: Vec<(&'static str, &'static str)>,
}

impl Rules {
    fn config(&self) -> Config {
        let rules: Vec<String> = self
            .named
            .iter()
            .map(|rule| format!("\"{rule}\""))
            .collect();
        let (hook, ca_file) = (&self.hook, &self.ca_file);
        let mut config = Config::new()
            .set("health", "disk_share = 1.0")
            .set("alerts", &format!("rules = [{}]", rules.join(", ")))
            .set("alerts", "resolve_after = \"1s\"")
            .set(
                "alerts.escalation.default",
                &format!("steps = [{{ after = \"{ESCALATES_AFTER}\", sinks = [\"hook\"] }}]"),
            )
            .plugin("webhook.wasm")
            .server(peers::echo())
            .tail(&format!(
                "[[alerts.route]]\nsinks = [\"hook\"]\nescalation = \"default\"\n\n\
                 [sink.hook]\nplugin = \"webhook\"\nconfig = {{ url = \"{hook}/\" }}\nsecrets = {{ secret = \"SIGNING\" }}\n\
                 allow = [\"{hook}\"]\nca_file = {ca_file:?}\ngrouping = \"none\"\nrate = \"100/s\""
            ));
        for rule in &self.named {
            let mode = self.modes.iter().find(|(of, _)| of == rule);
            let mode = mode.map_or("list", |(_, mode)| *mode);
            let section = format!("plugins.config.{rule}");
            config = config
                .set(&section, &format!("mode = \"{mode}\""))
                .set(&section, &format!("alert.{rule} = \"P2 Held\""));
        }
        config
    }

    fn place(&self, router: &Router) {
        let guest = peers::guest("hostile-rule.wasm");
        for rule in &self.named {
            fs::copy(&guest, router.path(&format!("plugins/{rule}.wasm"))).unwrap();
        }
    }

    async fn reload(&self, router: &Router) {
        router.write_config(&self.config());
        router.post("/api/config/reload").await;
    }
}

/// The alert that a rule of the scenario names.
async fn alert(router: &Router, rule: &str) -> Value {
    let all = router.get("/api/alerts?state=all&limit=1000").await;
    let alerts = all["alerts"].as_array().unwrap();
    let found = alerts.iter().find(|one| one["key"] == rule);
    found
        .unwrap_or_else(|| panic!("no alert of {rule} in {all}"))
        .clone()
}

async fn alert_until(
    router: &Router,
    rule: &str,
    what: &str,
    within: Duration,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    until(
        &format!("the alert of {rule} to be {what}"),
        within,
        async || {
            let one = alert(router, rule).await;
            if wanted(&one) {
                return Ok(one);
            }
            Err(format!("{one}\n{}", router.tail()))
        },
    )
    .await
}

/// Every rule of the scenario names its alert, and the receiver has each once.
async fn all_fire(rules: &Rules, router: &Router, hook: &Webhooks) {
    until("every alert at its receiver", SOON, async || {
        let missing: Vec<_> = rules
            .named
            .iter()
            .filter(|rule| hook.about(rule) != ["firing"])
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!(
            "not {missing:?}: {:?}\n{}",
            hook.events(),
            router.tail()
        ))
    })
    .await;
}

/// The alerts of these rules are stale, and no other is; all of them fire on. The router itself says of each of these rules that it does
/// not answer.
async fn stale_alone(rules: &Rules, router: &Router, failing: &[&str]) {
    for rule in failing {
        let one = alert_until(router, rule, "stale", SILENT_WITHIN, |one| {
            one["stale"] == true
        })
        .await;
        assert_eq!(
            (&one["state"], &one["firing"]),
            (&"firing".into(), &1.into()),
            "{one}"
        );
    }
    for rule in rules.named.iter().filter(|rule| !failing.contains(rule)) {
        let one = alert(router, rule).await;
        assert_eq!(
            (&one["stale"], &one["state"]),
            (&false.into(), &"firing".into()),
            "{one}"
        );
    }
    let silent: BTreeSet<String> = failing
        .iter()
        .map(|rule| format!("router:rule-silent:{rule}"))
        .collect();
    until(
        &format!("the router to raise {silent:?}"),
        SOON,
        async || {
            let open = router.get("/api/alerts?state=open&limit=1000").await;
            let raised: BTreeSet<String> = open["alerts"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|one| one["name"] == "rule-silent")
                .map(|one| one["key"].as_str().unwrap().to_owned())
                .collect();
            if raised == silent {
                Ok(())
            } else {
                Err(format!("{raised:?}"))
            }
        },
    )
    .await;
}

/// What the receiver got of a rule that was silent when the chain's step came.
async fn escalated(router: &Router, hook: &Webhooks, rule: &str) {
    until(
        &format!("the alert of {rule} to escalate"),
        SILENT_WITHIN,
        async || {
            let about = hook.about(rule);
            if about == ["firing", "reminder"] {
                Ok(())
            } else {
                Err(format!("{about:?}\n{}", router.tail()))
            }
        },
    )
    .await;
    let events = hook.events();
    let reminder = events.iter().find(|event| {
        event["type"] == "alert.reminder" && event["data"]["alerts"][0]["key"] == rule
    });
    let reminder = reminder.unwrap();
    assert_eq!(
        reminder["data"]["alerts"][0]["attributes"]["stale"], "true",
        "{reminder}"
    );
}

/// It answers again: nothing is stale, and nobody was notified of that.
async fn answer_again(rules: &Rules, router: &Router, hook: &Webhooks) {
    for rule in &rules.named {
        let one = alert_until(router, rule, "fresh", SOON, |one| one["stale"] == false).await;
        assert_eq!(
            (&one["state"], &one["firing"]),
            (&"firing".into(), &1.into()),
            "{one}"
        );
        let about = hook.about(rule);
        assert!(!about.contains(&"resolved".to_owned()), "{rule}: {about:?}");
        assert_eq!(
            about.iter().filter(|kind| *kind == "firing").count(),
            1,
            "{rule}: {about:?}"
        );
    }
    until("nothing that the router says of rules", SOON, async || {
        let open = router.get("/api/alerts?state=open&limit=1000").await;
        let open = open.to_string();
        if open.contains("rule-silent") {
            Err(open)
        } else {
            Ok(())
        }
    })
    .await;
}

async fn story(router: &Router, rule: &str) -> String {
    let id = alert(router, rule).await["id"].as_str().unwrap().to_owned();
    router.get(&format!("/api/alerts/{id}")).await["story"].to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_that_begin_to_fail_resolve_nothing_and_their_alerts_escalate() {
    const FAILING: [(&str, &str); 7] = [
        ("r-traps", "trap"),
        ("r-loops", "loop"),
        ("r-takes", "memory"),
        ("r-logs", "log"),
        ("r-floods", "flood"),
        ("r-weighs", "heavy"),
        // Its file goes.
        ("r-leaves", "list"),
    ];
    let authority = Authority::new();
    let hook = Webhooks::new();
    let receiver = Receiver::start(&authority, hook.clone()).await;
    let failing = FAILING.map(|(rule, _)| rule);
    let mut rules = Rules {
        hook: receiver.url(),
        ca_file: authority.ca_file(),
        // Of the last two the generation before goes on.
        named: failing
            .into_iter()
            .chain(["r-holds", "r-refuses", "r-halves"])
            .collect(),
        modes: Vec::new(),
    };
    let mut router = Router::prepared(&rules.config(), &[("SIGNING", SECRET)]);
    rules.place(&router);
    router.start_again().await;
    all_fire(&rules, &router, &hook).await;

    rules.modes = FAILING
        .into_iter()
        .chain([("r-refuses", "refuses")])
        .collect();
    rules.reload(&router).await;
    fs::remove_file(router.path("plugins/r-leaves.wasm")).unwrap();
    let half = fs::read(router.path("plugins/r-halves.wasm")).unwrap();
    fs::write(
        router.path("plugins/r-halves.wasm"),
        &half[..half.len() / 2],
    )
    .unwrap();
    stale_alone(&rules, &router, &failing).await;
    for (rule, reason) in [
        ("r-traps", "panicked"),
        ("r-leaves", "r-leaves is missing: alerts.rules names it"),
        ("r-floods", "too much data"),
    ] {
        router
            .logged(&["alert rule does not answer", rule, reason], SOON)
            .await;
    }
    for rule in failing {
        escalated(&router, &hook, rule).await;
    }
    // A flood of lines is none in the router's log, and it answers as ever.
    let log = fs::metadata(router.path("logs/godot-mcp-router.log")).unwrap();
    assert!(log.len() < 20 * 1024 * 1024, "{} bytes", log.len());

    rules.modes.clear();
    rules.reload(&router).await;
    rules.place(&router);
    answer_again(&rules, &router, &hook).await;
    let explained = story(&router, "r-traps").await;
    assert!(
        explained.contains("its rule does not answer")
            && explained.contains("its rule answers again"),
        "{explained}"
    );

    // A rule that is not asked any more ends what it named, and no other does.
    rules.named.retain(|rule| *rule != "r-traps");
    rules.reload(&router).await;
    until("the end of what the rule named", SOON, async || {
        let about = hook.about("r-traps");
        if about.last().is_some_and(|kind| kind == "resolved") {
            Ok(())
        } else {
            Err(format!("{about:?}"))
        }
    })
    .await;
    let one = alert(&router, "r-traps").await;
    assert_eq!(one["state"], "resolved", "{one}");
    let explained = story(&router, "r-traps").await;
    assert!(
        explained.contains("its rule was taken out of alerts.rules"),
        "{explained}"
    );
    answer_again(&rules, &router, &hook).await;
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_that_have_not_answered_since_the_start_resolve_nothing_either() {
    let authority = Authority::new();
    let hook = Webhooks::new();
    let receiver = Receiver::start(&authority, hook.clone()).await;
    let failing = ["r-traps", "r-refuses", "r-leaves", "r-halves"];
    let mut rules = Rules {
        hook: receiver.url(),
        ca_file: authority.ca_file(),
        named: failing.into_iter().chain(["r-holds"]).collect(),
        modes: Vec::new(),
    };
    let mut router = Router::prepared(&rules.config(), &[("SIGNING", SECRET)]);
    rules.place(&router);
    router.start_again().await;
    all_fire(&rules, &router, &hook).await;

    router.kill().await;
    let half = fs::read(router.path("plugins/r-halves.wasm")).unwrap();
    rules.modes = vec![("r-traps", "trap"), ("r-refuses", "refuses")];
    router.write_config(&rules.config());
    fs::remove_file(router.path("plugins/r-leaves.wasm")).unwrap();
    fs::write(
        router.path("plugins/r-halves.wasm"),
        &half[..half.len() / 2],
    )
    .unwrap();
    router.start_again().await;
    stale_alone(&rules, &router, &failing).await;
    for rule in failing {
        escalated(&router, &hook, rule).await;
    }
    let (status, _) = router.ask(Method::GET, "/api/health/liveness", None).await;
    assert_eq!(status, 200);

    rules.modes.clear();
    rules.reload(&router).await;
    rules.place(&router);
    answer_again(&rules, &router, &hook).await;
    router.end().await;
}
