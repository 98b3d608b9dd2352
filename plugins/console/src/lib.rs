//! Alerts in the router's log, one line each, for those who look there and for whatever reads it. It is the sink that is always there, and
//! the last fallback: it needs nobody.

use router_plugin_sdk::{
    ConfigFault, Settings,
    alert_sink::{Alert, AlertSink, Delivered, Delivery, LinkTarget, Occasion, Severity},
    host::{self, LogLevel},
};

/// Alerts of one delivery that have a line; how many more there are has one too.
const LINES_MAX: usize = 20;

/// The sink.
#[derive(Debug, Clone, Copy)]
pub struct Console;

router_plugin_sdk::export_alert_sink!(Console);

impl AlertSink for Console {
    const NAME: &'static str = "console";
    const SUMMARY: &'static str = "alerts in the router's log";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn check(settings: &Settings) -> Vec<ConfigFault> {
        settings.check_numbers(&[])
    }

    fn deliver(delivery: &Delivery, _: &Settings) -> Delivered {
        for alert in delivery.alerts.iter().take(LINES_MAX) {
            host::log(level(delivery, alert), &line(delivery, alert));
        }
        let more =
            delivery.alerts.len().saturating_sub(LINES_MAX) as u64 + u64::from(delivery.more);
        if more > 0 {
            host::log(
                LogLevel::Warn,
                &format!("ALERT {} and {more} more", delivery.group_key),
            );
        }
        Ok(None)
    }
}

/// As the router's own lines: an error is what somebody has to act on at once.
fn level(delivery: &Delivery, alert: &Alert) -> LogLevel {
    match (&delivery.occasion, alert.condition.severity) {
        (Occasion::Resolved | Occasion::Acknowledged(_) | Occasion::Test, _) => LogLevel::Info,
        _ if alert.resolved_ms.is_some() => LogLevel::Info,
        (_, Severity::P1 | Severity::P2) => LogLevel::Error,
        (_, Severity::P3 | Severity::P4) => LogLevel::Warn,
    }
}

fn line(delivery: &Delivery, alert: &Alert) -> String {
    let condition = &alert.condition;
    let mut line = format!(
        "ALERT {} {} {}: {}",
        condition.severity.as_str(),
        occasion(delivery, alert),
        condition.name,
        condition.summary
    );
    if let Some(instance) = &condition.instance {
        line = format!("{line} instance: {instance}");
    }
    let is_over = matches!(delivery.occasion, Occasion::Resolved) || alert.resolved_ms.is_some();
    if !is_over && !condition.remedy.is_empty() {
        line = format!("{line} remedy: {}", condition.remedy);
    }
    if let Some(runbook) = delivery.link(&LinkTarget::Runbook) {
        line = format!("{line} runbook: {runbook}");
    }
    line
}

fn occasion(delivery: &Delivery, alert: &Alert) -> String {
    match &delivery.occasion {
        Occasion::Acknowledged(by) => format!("acknowledged by {by}"),
        Occasion::SeverityChanged(before) => {
            format!("(before {}) severity changed", before.as_str())
        }
        _ if alert.resolved_ms.is_some() => "resolved".to_owned(),
        occasion => occasion.describe().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use router_plugin_sdk::{
        Settings,
        alert_sink::{Alert, AlertSink as _, Delivery, Link, LinkTarget, Occasion, Severity},
        host::{FakeHost, LogLevel},
    };

    use super::{Console, LINES_MAX};

    fn lines(delivery: &Delivery) -> Vec<(LogLevel, String)> {
        let host = FakeHost::new();
        let delivered = host.call(|| Console::deliver(delivery, &Settings::default()));
        assert_eq!(delivered, Ok(None));
        let lines = host.lines().into_iter();
        lines.map(|line| (line.level, line.message)).collect()
    }

    #[test]
    fn each_occasion_is_a_line_at_its_level() {
        let mut delivery = Delivery {
            links: vec![Link {
                target: LinkTarget::Runbook,
                url: "https://wiki.example/#crash-loop".to_owned(),
            }],
            ..Delivery::default()
        };
        let alert = "instance-crash-loop: demo is in a crash loop. instance: demo";
        let remedy = "remedy: Look at its last lines of output, and start it again.";
        let runbook = "runbook: https://wiki.example/#crash-loop";
        for (occasion, level, line) in [
            (
                Occasion::Firing,
                LogLevel::Error,
                format!("ALERT P2 firing {alert} {remedy} {runbook}"),
            ),
            (
                Occasion::Acknowledged("ann".to_owned()),
                LogLevel::Info,
                format!("ALERT P2 acknowledged by ann {alert} {remedy} {runbook}"),
            ),
            (
                Occasion::SeverityChanged(Severity::P3),
                LogLevel::Error,
                format!("ALERT P2 (before P3) severity changed {alert} {remedy} {runbook}"),
            ),
            (
                Occasion::Resolved,
                LogLevel::Info,
                format!("ALERT P2 resolved {alert} {runbook}"),
            ),
        ] {
            delivery.occasion = occasion;
            assert_eq!(lines(&delivery), [(level, line)]);
        }
    }

    #[test]
    fn many_alerts_are_some_lines_and_how_many_more() {
        let delivery = Delivery {
            alerts: vec![Alert::default(); 25],
            more: 75,
            ..Delivery::default()
        };
        let lines = lines(&delivery);
        assert_eq!(lines.len(), LINES_MAX + 1);
        assert_eq!(
            lines[LINES_MAX].1,
            "ALERT instance-crash-loop/demo#1 and 80 more"
        );
    }

    #[test]
    fn it_takes_no_settings() {
        let settings = Settings::of([("color", router_plugin_sdk::Value::Flag(true))]);
        assert_eq!(Console::check(&settings).len(), 1);
    }
}
