//! `[alerts]`: which rules are asked, who hears of what they find, and when.

use std::{sync::Arc, time::Duration};

use router_alerts::{
    Severity,
    matcher::{Matcher, PATTERNS_MAX},
    settings::AlertSettings,
};
use router_values::{Secret, whole_ms};

use crate::{
    Applies, PluginName, SinkName,
    reader::{ConfigSection, SecretKey},
    sinks::ReadSinks,
    value::{InvalidValue, Value},
};

mod chain;
mod maintenance;
mod route;
mod web_address;

pub use web_address::WebAddress;

/// `[alerts]`, and what of it the alert engine decides by.
#[derive(Debug, Clone, PartialEq)]
pub struct Alerts {
    /// Rules, times, routes, chains and windows, and each sink as far as it matters for what is delivered.
    pub settings: AlertSettings,
    /// What the anchors of alerts are appended to.
    pub runbook_url: Option<WebAddress>,
    /// Where people reach this router, for links to acknowledge by; without it messages carry none.
    pub public_url: Option<WebAddress>,
    /// What is called every minute while alerting works.
    pub heartbeat_url: Option<Secret>,
}

/// Most rules: so many conditions may all of them name that as many alerts are kept.
const RULES_MAX: usize = 10;

impl Alerts {
    pub(crate) fn read(root: &ConfigSection<'_, '_>, sinks: &ReadSinks) -> Self {
        let section = root.child("alerts");
        let mut settings = read_settings(&section);
        settings.sinks = sinks.settings();
        let (chains, chain_names) = chain::read_all(&section, sinks);
        settings.escalations = chains;
        let before = root.reader.count();
        let routes = route::read_all(&section, sinks, &chain_names);
        settings.routes = if routes.is_empty() {
            sinks.given.routes()
        } else {
            routes
        };
        if root.reader.count() == before {
            check_urgent(&section, &settings);
        }
        settings.maintenance = maintenance::read_all(&section);
        let alerts = Self {
            settings,
            runbook_url: section
                .key("runbook_url")
                .rule(|url: &WebAddress| {
                    let remedy = "write the address of the page: anchors are appended to it";
                    url.refuse(&["#"], remedy)
                })
                .optional(),
            public_url: section
                .key("public_url")
                .rule(|url: &WebAddress| {
                    let remedy = "write what stands before /ack in a link to this router";
                    url.refuse(&["#", "?"], remedy)
                })
                .optional(),
            heartbeat_url: read_heartbeat_url(&section),
        };
        section.close();
        alerts
    }
}

fn read_settings(section: &ConfigSection<'_, '_>) -> AlertSettings {
    let seconds = Duration::from_secs;
    let hours = |hours: u64| seconds(hours * 3_600);
    let bundled = PluginName::parse("default-alerts").expect("the bundled plugin's name is one");
    let rules = section
        .key("rules")
        .rule(|rules: &Vec<PluginName>| check_list(rules, RULES_MAX))
        .or(vec![bundled]);
    let ms = |name, (least, most), default| {
        let key = section.key(name).within(least, most);
        whole_ms(key.or(default))
    };
    AlertSettings {
        rules: rules.iter().map(|rule| rule.as_str().into()).collect(),
        resolve_after_ms: ms("resolve_after", (seconds(1), hours(1)), seconds(30)),
        group_wait_ms: ms("group_wait", (seconds(0), hours(1)), seconds(10)),
        group_interval_ms: ms("group_interval", (seconds(1), hours(24)), seconds(300)),
        ack_ttl_ms: ms("ack_ttl", (seconds(60), hours(168)), hours(4)),
        // More often, and people mute what repeats.
        repeat_ms: ms("repeat", (seconds(300), hours(24)), seconds(900)),
        ..AlertSettings::default()
    }
}

fn read_heartbeat_url(section: &ConfigSection<'_, '_>) -> Option<Secret> {
    let found = section.secret(&SecretKey {
        name: "heartbeat_url",
        file_name: "heartbeat_url_file",
        variables: &[],
        default: None,
        applies: Applies::Live,
    })?;
    match WebAddress::parse(found.secret.expose()) {
        Ok(_) => Some(found.secret),
        Err(what) => {
            let what = format!("this is not the address of a heartbeat: {what}");
            let remedy = "copy it from the service that misses it: https://…";
            let key = section.key_path("heartbeat_url");
            section.reader.fault(found.place, key, what, remedy);
            None
        }
    }
}

/// A P1 that only some alerts' routes take is one that nobody hears of. Of its name, key and instance nothing is known: the rules are
/// plugins.
fn check_urgent(section: &ConfigSection<'_, '_>, settings: &AlertSettings) {
    // What no pattern can hold is matched by those alone that match everything.
    const ANY: &str = "\0";
    let routing = settings.routing_of(Severity::P1, ANY, None, Some(ANY));
    if routing.targets.is_empty() {
        let what = "there are P1 alerts that no route takes";
        let remedy = "end with an [[alerts.route]] that matches everything: sinks = [\"…\"] alone";
        section
            .reader
            .fault_at(&section.key_path("route"), what, remedy);
    }
}

/// What an alert must be for something to be about it.
fn read_matcher(section: &ConfigSection<'_, '_>) -> Matcher {
    Matcher {
        severity: read_patterns(section, "severity"),
        name: read_patterns(section, "name"),
        instance: read_patterns(section, "instance"),
        key: read_patterns(section, "key"),
    }
}

fn read_patterns<T: Value + PartialEq>(
    section: &ConfigSection<'_, '_>,
    name: &'static str,
) -> Vec<T> {
    let key = section.key(name);
    key.rule(|list: &Vec<T>| check_list(list, PATTERNS_MAX))
        .or(Vec::new())
}

/// No list names anything twice, nor more than can be meant.
fn check_list<T: Value + PartialEq>(list: &[T], most: usize) -> Result<(), InvalidValue> {
    let mut items = list.iter().enumerate();
    if let Some((_, twice)) = items.find(|(at, item)| list[..*at].contains(item)) {
        let what = format!("names {} twice", twice.show());
        return Err(InvalidValue::new(what, "name each once"));
    }
    if list.len() > most {
        let what = format!("names {}", list.len());
        return Err(InvalidValue::new(what, format!("name at most {most}")));
    }
    Ok(())
}

/// The sinks of a route or a step: at least one, and each is there.
fn read_sinks(section: &ConfigSection<'_, '_>, sinks: &ReadSinks) -> Option<Vec<Arc<str>>> {
    const REMEDY: &str = "name who hears of it: sinks = [\"console\"] is the log";
    let named: Vec<SinkName> = section
        .key("sinks")
        .rule(|named: &Vec<SinkName>| {
            if named.is_empty() {
                return Err(InvalidValue::new("names no sink", REMEDY));
            }
            check_list(named, usize::MAX)
        })
        .required(REMEDY)?;
    for sink in &named {
        sinks.check_is_there(&section.key_path("sinks"), sink, section.reader);
    }
    Some(named.iter().map(|sink| sink.as_str().into()).collect())
}

/// The tables of an array, where there are not too many of them.
fn read_items<'r, 'a>(
    section: &ConfigSection<'r, 'a>,
    name: &'static str,
    most: usize,
) -> Vec<ConfigSection<'r, 'a>> {
    let items = section.items(name);
    if let Some(first_past) = items.get(most) {
        let what = format!("there are {}, allowed are {most}", items.len());
        let remedy = "remove those that nobody needs";
        section
            .reader
            .fault(first_past.place(), first_past.path(), what, remedy);
    }
    items
}

#[cfg(test)]
mod tests;
