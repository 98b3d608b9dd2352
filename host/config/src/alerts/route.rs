//! `[[alerts.route]]`: who hears of which alert.

use std::{collections::BTreeSet, sync::Arc};

use router_alerts::settings::AlertRoute;

use super::{read_items, read_matcher, read_sinks};
use crate::{ChainName, reader::ConfigSection, sinks::ReadSinks, suggest::nearest, value::Label};

/// Most routes: each is tried for each alert.
const ROUTES_MAX: usize = 256;

pub(super) fn read_all(
    alerts: &ConfigSection<'_, '_>,
    sinks: &ReadSinks,
    chains: &BTreeSet<ChainName>,
) -> Vec<AlertRoute> {
    let (mut routes, mut used) = (Vec::<AlertRoute>::new(), BTreeSet::new());
    for (at, section) in read_items(alerts, "route", ROUTES_MAX)
        .into_iter()
        .enumerate()
    {
        let id: Option<Label> = section.key("id").optional();
        let name = id.map_or_else(|| format!("route-{}", at + 1), |Label(id)| id);
        if routes.iter().any(|other| *other.name == *name) {
            let what = format!("another route is called {name:?}");
            let remedy = "give each its own id: groups and explanations tell them apart by it";
            section
                .reader
                .fault_at(&section.key_path("id"), what, remedy);
        }
        let chain = read_chain(&section, chains);
        let route = AlertRoute {
            name: name.into(),
            matcher: read_matcher(&section),
            continues: section.key("continue").or(false),
            sinks: read_sinks(&section, sinks).unwrap_or_default(),
            escalation: chain.as_ref().map(|chain| Arc::from(chain.as_str())),
        };
        section.close();
        used.extend(chain);
        routes.push(route);
    }
    for chain in chains.difference(&used) {
        let key = format!("{}.{chain}", alerts.key_path("escalation"));
        alerts
            .reader
            .notice(key, "no route names this chain: nothing escalates by it");
    }
    routes
}

fn read_chain(section: &ConfigSection<'_, '_>, chains: &BTreeSet<ChainName>) -> Option<ChainName> {
    let chain: ChainName = section.key("escalation").optional()?;
    if !chains.contains(&chain) {
        let names = chains.iter().map(ChainName::as_str);
        let remedy = match nearest(chain.as_str(), names) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("add [alerts.escalation.{chain}] with its steps"),
        };
        let what = format!("there is no chain \"{chain}\"");
        let key = section.key_path("escalation");
        section.reader.fault_at(&key, what, remedy);
    }
    Some(chain)
}
