//! `[alerts.escalation.NAME]`: who hears next of an alert that nobody acknowledges.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use router_alerts::settings::{ESCALATION_STEPS_MAX, EscalationStep};
use router_values::whole_ms;

use super::{read_items, read_sinks};
use crate::{ChainName, reader::ConfigSection, sinks::ReadSinks};

/// Chains by name, and the names of all of them, also of those that are faulty.
type Chains = (BTreeMap<Arc<str>, Vec<EscalationStep>>, BTreeSet<ChainName>);

pub(super) fn read_all(alerts: &ConfigSection<'_, '_>, sinks: &ReadSinks) -> Chains {
    let (mut chains, mut names) = (BTreeMap::new(), BTreeSet::new());
    for (name, section) in alerts.named("escalation") {
        let steps = read_steps(&section, sinks);
        match ChainName::parse(&name) {
            Ok(name) => {
                chains.insert(name.as_str().into(), steps);
                names.insert(name);
            }
            Err(_) => {
                let what = "this is not the name of a chain";
                let remedy = "write 1 to 64 lower-case letters, digits, - and _, and start with a letter or a digit";
                section
                    .reader
                    .fault(section.place(), section.path(), what, remedy);
            }
        }
        section.close();
    }
    (chains, names)
}

fn read_steps(section: &ConfigSection<'_, '_>, sinks: &ReadSinks) -> Vec<EscalationStep> {
    let before = section.reader.count();
    let mut steps = Vec::new();
    let sections = read_items(section, "steps", ESCALATION_STEPS_MAX);
    if sections.is_empty() && section.reader.count() == before {
        let remedy =
            "add a step: steps = [{ after = \"15m\", sinks = [\"…\"] }], or remove the chain";
        let key = section.key_path("steps");
        section.reader.fault_at(&key, "has no step", remedy);
    }
    for section in sections {
        let after = section
            .key("after")
            .within(Duration::from_secs(1), Duration::from_secs(7 * 86_400))
            .required("say how long after the step before: after = \"15m\"");
        let sinks = read_sinks(&section, sinks);
        section.close();
        steps.extend(after.zip(sinks).map(|(after, sinks)| EscalationStep {
            after_ms: whole_ms(after),
            sinks,
        }));
    }
    steps
}
