//! What is wrong with plugins as a whole: which of those that policies name do not judge as they are configured, and which settings
//! are no plugin's. It is judged by what is there, not by what happened, so that a lost event leaves nothing stale.

use std::collections::BTreeSet;

use router_core::policy::{PolicyGenerations, PolicyKind};

use crate::{
    NamedPolicies,
    shared::EngineShared,
    sinks::is_sink,
    texts::{TEXT_BYTES_MAX, cut},
};

/// Faults that are named; how many more there are is counted.
const NAMED_MAX: usize = 5;

/// Whether a plugin is named as an alert rule alone.
pub(crate) fn are_rules(kinds: &BTreeSet<PolicyKind>) -> bool {
    kinds.iter().eq([&PolicyKind::AlertRule])
}

/// What keeps one plugin, or one sink, from doing what it is named for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginFault {
    /// The plugin, or `sink.NAME`.
    pub name: String,
    /// Its name, and why, for people.
    pub what: String,
}

/// What is wrong with plugins now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conditions {
    /// How many are in quarantine.
    pub quarantined: u32,
    /// The plugins that a policy names and that are not there, are of another kind, are refused, or refuse their settings: by name and
    /// with the reason, for people. At most six lines of some hundred bytes.
    pub faults: Vec<String>,
    /// Plugins that are configured, and that are neither there nor named by a policy.
    pub unknown: BTreeSet<String>,
    /// The policies that are named and loaded, with their generations.
    pub generations: Vec<PolicyGenerations>,
}

impl Conditions {
    /// Whether every generation that is loaded is in force or held.
    pub(crate) fn are_trials_over(&self) -> bool {
        let mut candidates = self
            .generations
            .iter()
            .filter_map(|one| one.candidate.as_ref());
        candidates.all(|candidate| candidate.held.is_some())
    }
}

impl EngineShared {
    /// Publishes what is wrong now, where it is something else than before.
    pub(crate) fn publish_conditions(&self) {
        let conditions = self.conditions_now();
        self.conditions.send_if_modified(|before| {
            let is_other = *before != conditions;
            *before = conditions;
            is_other
        });
    }

    fn conditions_now(&self) -> Conditions {
        let named = self.named();
        let configured: BTreeSet<String> = self.settings.lock().config.keys().cloned().collect();
        let generations = self.generations(&named);
        // Before the first scan it is not known what is there.
        let is_scanned = self.missing.lock().is_some();
        let quarantined = {
            let plugins = self.plugins.lock();
            let quarantined = plugins.values().filter(|entry| entry.is_quarantined());
            u32::try_from(quarantined.count()).unwrap_or(u32::MAX)
        };
        if !is_scanned {
            return Conditions {
                quarantined,
                generations,
                ..Conditions::default()
            };
        }
        let faults = self.faults_of(&named, TEXT_BYTES_MAX).into_iter();
        let mut faults: Vec<String> = faults.map(|fault| fault.what).collect();
        let more = faults.len().saturating_sub(NAMED_MAX);
        if more > 0 {
            faults.truncate(NAMED_MAX);
            faults.push(format!("and {more} more policies"));
        }
        let plugins = self.plugins.lock();
        let is_unknown = |name: &String| !plugins.contains_key(name) && !named.contains_key(name);
        Conditions {
            quarantined,
            faults,
            unknown: configured.into_iter().filter(is_unknown).collect(),
            generations,
        }
    }

    /// What is named and does not do what it is named for, each with so much of the reason.
    pub(crate) fn faults_of(&self, named: &NamedPolicies, bytes_max: usize) -> Vec<PluginFault> {
        let plugins = self.plugins.lock();
        let fault_of = |(name, kinds): (&String, &BTreeSet<PolicyKind>)| {
            let fault = match plugins.get(name) {
                Some(entry) => entry.fault().or_else(|| entry.kind_fault(kinds))?,
                None => self.missing_reason(name),
            };
            let fault = cut(&fault, bytes_max);
            let what = if is_sink(name) {
                format!("{name}: {fault}")
            } else if are_rules(kinds) {
                format!("alert rule {name}: {fault}")
            } else {
                format!("policy {name}: {fault}")
            };
            let name = name.clone();
            Some(PluginFault { name, what })
        };
        named.iter().filter_map(fault_of).collect()
    }
}
