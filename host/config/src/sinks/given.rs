//! The sinks that are there without a line of configuration: what the environment holds for Slack and PagerDuty is enough.

use std::sync::Arc;

use router_alerts::{
    Severity,
    matcher::Matcher,
    settings::{AlertRoute, AlertSettings},
};
use router_values::Origin;

use crate::{
    PluginName, SinkConfig, SinkName, WebAddress,
    reader::{ConfigReader, FoundSecret},
    sinks::CONSOLE,
    value::Value as _,
};

const SLACK: &str = "SLACK_WEBHOOK_URL";
const PAGERDUTY: &str = "PAGERDUTY_ROUTING_KEY";
/// Where PagerDuty takes events.
const PAGERDUTY_ORIGIN: &str = "https://events.pagerduty.com";

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct GivenSinks {
    sinks: Vec<(SinkName, SinkConfig)>,
    /// Whether one of them is for what somebody must be woken for, and no more.
    has_pagerduty: bool,
    /// Their names.
    names: Vec<Arc<str>>,
}

impl GivenSinks {
    /// `has_sections`: somebody wrote a `[sink.NAME]`, and no sink is made of what is not written.
    pub(crate) fn read(reader: &ConfigReader<'_>, has_sections: bool) -> Self {
        let mut given = Self::default();
        if has_sections {
            for variable in [SLACK, PAGERDUTY] {
                let is_set = [variable.to_owned(), format!("{variable}_FILE")]
                    .iter()
                    .any(|name| reader.environment.variable(name).is_some());
                if is_set && !reader.is_known_variable(variable) {
                    let what = "makes no sink, since there is a [sink.NAME]: name it in the secrets of one, or unset it";
                    reader.notice(variable, what);
                }
            }
            return given;
        }
        if let Some(found) = reader.named_secret("sink.slack.secrets.webhook_url", SLACK)
            && let Some(origin) = read_slack_origin(reader, &found)
        {
            given.add(reader, ("slack", "webhook_url"), found, origin);
        }
        if let Some(found) = reader.named_secret("sink.pagerduty.secrets.routing_key", PAGERDUTY) {
            let origin = Origin::parse_http(PAGERDUTY_ORIGIN).expect("it is an origin");
            given.add(reader, ("pagerduty", "routing_key"), found, origin);
            given.has_pagerduty = true;
        }
        given
    }

    /// The sinks, once.
    pub(crate) fn take(&mut self) -> Vec<(SinkName, SinkConfig)> {
        std::mem::take(&mut self.sinks)
    }

    /// Who hears of what, where no route is written: PagerDuty of P1 and P2 only. No routes: everybody of everything.
    pub(crate) fn routes(&self) -> Vec<AlertRoute> {
        if !self.has_pagerduty {
            return Vec::new();
        }
        let route = |name: &str, severity, continues, sinks| AlertRoute {
            name: name.into(),
            matcher: Matcher {
                severity,
                ..Matcher::default()
            },
            continues,
            sinks,
            escalation: None,
        };
        let is_other = |name: &&Arc<str>| ***name != *"pagerduty";
        let others = self.names.iter().filter(is_other).cloned();
        let others = others.chain([CONSOLE.into()]).collect();
        let urgent = vec![Severity::P1, Severity::P2];
        vec![
            route("pagerduty", urgent, true, vec!["pagerduty".into()]),
            route(AlertSettings::EVERYTHING, Vec::new(), false, others),
        ]
    }

    fn add(
        &mut self,
        reader: &ConfigReader<'_>,
        (name, secret): (&str, &str),
        found: FoundSecret,
        origin: Origin,
    ) {
        let plugin = PluginName::parse(name).expect("the bundled plugin's name is one");
        let shown = [
            ("plugin", name.to_owned().show()),
            ("secrets", format!("{{ {secret} }}")),
            ("allow", format!("[{}]", origin.to_string().show())),
        ];
        for (key, value) in shown {
            let (key, schema_key) = (format!("sink.{name}.{key}"), format!("sink.NAME.{key}"));
            reader.made_of(&found.place, key, schema_key, value);
        }
        let mut sink = SinkConfig::of_plugin(plugin);
        sink.secrets.insert(secret.to_owned(), found.secret);
        sink.allow.push(origin);
        self.names.push(name.into());
        let name = SinkName::parse(name).expect("it is a name");
        self.sinks.push((name, sink));
    }
}

/// Where a webhook's address leads: Slack, or what understands the same.
fn read_slack_origin(reader: &ConfigReader<'_>, found: &FoundSecret) -> Option<Origin> {
    match WebAddress::parse(found.secret.expose()) {
        Ok(address) => Some(address.origin().clone()),
        Err(what) => {
            let what = format!("this is not the address of a webhook: {what}");
            let remedy = "copy it from Slack: https://hooks.slack.com/services/…";
            reader.fault(found.place.clone(), "", what, remedy);
            None
        }
    }
}
