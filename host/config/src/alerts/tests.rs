//! What the engine and delivery get: of the file, and of the environment where the file says nothing.

use std::{path::Path, time::Duration};

use router_alerts::{
    Severity,
    settings::{AlertSettings, Grouping},
};

use crate::{Config, Environment, SinkConfig, SinkName, load};

fn read<'e>(text: &str, variables: impl IntoIterator<Item = (&'e str, &'e str)>) -> Config {
    let environment = Environment::new("/srv", variables);
    load(text, Path::new("router.toml"), &environment).unwrap_or_else(|faults| panic!("{faults}"))
}

/// Who hears of an alert of the fleet, by severity from P1 to P4.
fn hearers(config: &Config) -> [Vec<String>; 4] {
    Severity::ALL.map(|severity| hearers_of(config, severity, "disk", None))
}

fn hearers_of(
    config: &Config,
    severity: Severity,
    name: &str,
    instance: Option<&str>,
) -> Vec<String> {
    let settings = &config.alerts.settings;
    let routing = settings.routing_of(severity, name, instance, Some("key"));
    let sinks = routing.targets.iter().map(|(sink, _)| sink.to_string());
    sinks.collect()
}

fn sink<'c>(config: &'c Config, name: &str) -> &'c SinkConfig {
    &config.sinks[&SinkName::parse(name).unwrap()]
}

/// Variables, and who hears of P1, P2, P3 and P4.
type Given = (
    &'static [(&'static str, &'static str)],
    [&'static [&'static str]; 4],
);

#[test]
fn without_a_line_of_configuration_the_environment_makes_sinks() {
    const SLACK: (&str, &str) = (
        "SLACK_WEBHOOK_URL",
        "https://hooks.slack.com/services/T/B/hunter2",
    );
    const PAGERDUTY: (&str, &str) = ("PAGERDUTY_ROUTING_KEY", "hunter2");
    let cases: [Given; 4] = [
        (&[], [&["console"]; 4]),
        (&[SLACK], [&["console", "slack"]; 4]),
        (
            &[PAGERDUTY],
            [
                &["pagerduty", "console"],
                &["pagerduty", "console"],
                &["console"],
                &["console"],
            ],
        ),
        (
            &[SLACK, PAGERDUTY],
            [
                &["pagerduty", "slack", "console"],
                &["pagerduty", "slack", "console"],
                &["slack", "console"],
                &["slack", "console"],
            ],
        ),
    ];
    for (variables, expected) in cases {
        let config = read("", variables.iter().copied());
        assert_eq!(hearers(&config), expected, "{variables:?}");
        assert_eq!(config.sinks.len(), variables.len() + 1);
        assert!(config.notices.is_empty(), "{:?}", config.notices);
        assert!(!format!("{config:?}").contains("hunter2"));
    }
    let config = read("", [SLACK, PAGERDUTY]);
    let slack = sink(&config, "slack");
    assert_eq!(slack.plugin.as_str(), "slack");
    assert_eq!(slack.secrets["webhook_url"].expose(), SLACK.1);
    assert_eq!(slack.allow[0].to_string(), "https://hooks.slack.com");
    assert_eq!(slack.settings.grouping, Grouping::Group);
    let pagerduty = sink(&config, "pagerduty");
    assert_eq!(pagerduty.secrets["routing_key"].expose(), PAGERDUTY.1);
    let allowed = pagerduty.allow[0].to_string();
    assert_eq!(allowed, "https://events.pagerduty.com");
    assert_eq!(pagerduty.settings.grouping, Grouping::None);
    let shown = |key: &str| {
        let mut settings = config.settings.iter();
        let setting = settings.find(|setting| setting.key == key).unwrap();
        (setting.value.clone().unwrap(), setting.origin.clone())
    };
    let origin = crate::SettingOrigin::Variable("SLACK_WEBHOOK_URL".to_owned());
    let (value, from) = shown("sink.slack.secrets");
    assert_eq!((value.as_str(), from), ("{ webhook_url }", origin));
}

#[test]
fn a_webhook_elsewhere_is_allowed_where_it_leads() {
    for (url, allowed) in [
        ("http://127.0.0.1:8080/hook", "http://127.0.0.1:8080"),
        ("https://chat.example/hooks/x", "https://chat.example"),
    ] {
        let config = read("", [("SLACK_WEBHOOK_URL", url)]);
        let slack = sink(&config, "slack");
        let origins: Vec<String> = slack.allow.iter().map(ToString::to_string).collect();
        assert_eq!(origins, [allowed]);
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("url");
    std::fs::write(&file, "https://chat.example/hooks/x\n").unwrap();
    let config = read("", [("SLACK_WEBHOOK_URL_FILE", file.to_str().unwrap())]);
    let secret = &sink(&config, "slack").secrets["webhook_url"];
    assert_eq!(secret.expose(), "https://chat.example/hooks/x");
}

#[test]
fn what_the_file_says_of_sinks_or_routes_counts_alone() {
    let given = [("PAGERDUTY_ROUTING_KEY", "x")];
    // A route over what the environment makes.
    let config = read("[[alerts.route]]\nsinks = [\"pagerduty\"]", given);
    assert_eq!(hearers(&config), [const { &["pagerduty"] }; 4]);
    // A sink in the file: nothing is made.
    let config = read("[sink.mine]\nplugin = \"mine\"", given);
    assert_eq!(hearers(&config), [const { &["console", "mine"] }; 4]);
    // One that is named in it is what it says.
    let text = "[sink.p]\nplugin = \"pagerduty\"\nsecrets = { routing_key = \"PAGERDUTY_ROUTING_KEY\" }\nallow = [\"https://x.example\"]";
    let config = read(text, given);
    assert!(config.notices.is_empty(), "{:?}", config.notices);
    assert_eq!(sink(&config, "p").secrets["routing_key"].expose(), "x");
}

#[test]
fn what_is_written_arrives_as_it_is_meant() {
    let text = r#"
[alerts]
rules = ["own", "default-alerts"]
runbook_url = "https://wiki.example/router/"
public_url = "https://router.example:8443/gmr/"
heartbeat_url = "https://hc.example/x"
resolve_after = "1m"
group_wait = "0s"
group_interval = "10m"
ack_ttl = "1h"
repeat = "5m"
[sink.a]
plugin = "slack"
config = { channel = "x", nested = { n = 1 } }
fallback = "b"
rate = "30/m"
ca_file = "ca.pem"
proxy = "http://ann:pw@proxy.example:3128"
[sink.b]
plugin = "alertmanager"
[sink.c]
plugin = "mine"
grouping = "none"
[[alerts.route]]
id = "games"
severity = ["P1", "P2"]
instance = ["maze@*"]
continue = true
sinks = ["a"]
escalation = "chain"
[[alerts.route]]
sinks = ["c"]
[alerts.escalation.chain]
steps = [{ after = "15m", sinks = ["a"] }, { after = "30m", sinks = ["a", "b"] }]
[[alerts.maintenance]]
name = "weekly"
at = "Sun 02:30"
for = "1h"
timezone = "Europe/Berlin"
match = { severity = ["P3"] }
"#;
    let config = read(text, [("", ""); 0]);
    let alerts = &config.alerts;
    let public_url = alerts.public_url.as_ref().unwrap();
    assert_eq!(public_url.as_str(), "https://router.example:8443/gmr");
    assert_eq!(
        public_url.origin().to_string(),
        "https://router.example:8443"
    );
    let runbook_url = alerts.runbook_url.as_ref().unwrap().as_str();
    assert_eq!(runbook_url, "https://wiki.example/router");
    let heartbeat_url = alerts.heartbeat_url.as_ref().unwrap();
    assert_eq!(heartbeat_url.expose(), "https://hc.example/x");
    let settings = &alerts.settings;
    assert_eq!(settings.rules[..], ["own".into(), "default-alerts".into()]);
    let times_ms = [
        settings.resolve_after_ms,
        settings.group_wait_ms,
        settings.group_interval_ms,
        settings.ack_ttl_ms,
        settings.repeat_ms,
    ];
    assert_eq!(times_ms, [60_000, 0, 600_000, 3_600_000, 300_000]);
    let maze = |severity| hearers_of(&config, severity, "x", Some("maze@1"));
    assert_eq!(maze(Severity::P1), ["a", "c"]);
    assert_eq!(maze(Severity::P3), ["c"]);
    let names: Vec<&str> = settings.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["games", "route-2"]);
    assert_eq!(settings.routes[0].escalation.as_deref(), Some("chain"));
    let steps = settings.escalations["chain"].iter();
    let steps: Vec<(u64, usize)> = steps
        .map(|step| (step.after_ms, step.sinks.len()))
        .collect();
    assert_eq!(steps, [(900_000, 1), (1_800_000, 2)]);
    let window = &settings.maintenance[0];
    assert_eq!(window.matcher.severity, [Severity::P3]);
    // 02:30 in Berlin on Sunday, 17 January 2027.
    let (start_ms, end_ms) = window.span_after(1_800_000_000_000).unwrap();
    assert_eq!((start_ms, end_ms), (1_800_149_400_000, 1_800_153_000_000));
    let a = sink(&config, "a");
    assert_eq!(a.config["nested"]["n"].as_integer(), Some(1));
    assert_eq!(a.rate.interval(), Duration::from_secs(2));
    assert_eq!(a.ca_file.as_deref(), Some(Path::new("/srv/ca.pem")));
    let proxy = a.proxy.as_ref().unwrap();
    assert_eq!(proxy.credentials().unwrap().expose(), "ann:pw");
    assert_eq!(settings.sinks["a"].fallback.as_deref(), Some("b"));
    let groupings = ["a", "b", "c", "console"].map(|name| settings.sinks[name].grouping);
    use Grouping::{Group, None as Alone};
    assert_eq!(groupings, [Group, Alone, Alone, Group]);
    for (name, sink) in &config.sinks {
        assert_eq!(settings.sinks[name.as_str()], sink.settings, "{name}");
    }
}

/// The engine has defaults of its own, for its tests; two truths would drift apart.
#[test]
fn the_defaults_are_those_of_the_engine() {
    let config = read("", [("", ""); 0]);
    let engine = AlertSettings {
        rules: vec!["default-alerts".into()],
        sinks: [("console".into(), sink(&config, "console").settings.clone())].into(),
        ..AlertSettings::default()
    };
    assert_eq!(config.alerts.settings, engine);
}

/// A P1 is somebody's, whatever it is called: what is left out by any list has to be taken by a later route.
#[test]
fn only_routes_that_take_every_p1_are_taken() {
    let sinks = "[sink.a]\nplugin = \"slack\"\n";
    let cases = [
        ("", true),
        ("severity = [\"P1\"]", true),
        ("name = [\"*\"]\nkey = [\"**\", \"x\"]", true),
        ("severity = [\"P2\", \"P3\", \"P4\"]", false),
        ("name = [\"a*\", \"*a\"]", false),
        ("instance = [\"*\"]", false),
        ("key = [\"?\"]", false),
    ];
    for (matcher, is_taken) in cases {
        let route = format!("[[alerts.route]]\nsinks = [\"a\"]\n{matcher}\n");
        let first_only = format!("{sinks}{route}");
        let both = format!("{first_only}[[alerts.route]]\nsinks = [\"console\"]\n");
        let environment = Environment::new("/srv", [("", ""); 0]);
        let load = |text: &str| load(text, Path::new("router.toml"), &environment);
        assert_eq!(load(&first_only).is_ok(), is_taken, "{matcher}");
        assert!(load(&both).is_ok(), "{matcher}");
    }
}
