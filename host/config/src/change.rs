//! What a reload changes.

use std::collections::{BTreeMap, BTreeSet};

use router_core::{InstanceId, spec::Source};

use router_values::Secret;

use crate::{
    Applies, Config, InstanceConfig, InstanceDefinition, Logging, PluginName, Server, Setting,
    SinkName, TemplateName,
};

/// What differs between two configurations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigChange {
    /// Keys that differ and count with the reload, in order.
    pub live: Vec<String>,
    /// Keys that differ and count only with the next start of the router, in order. A reload leaves them as they are.
    pub restart: Vec<String>,
    /// Templates.
    pub templates: Named<TemplateName>,
    /// `[[instance]]`s. `changed` ones are launched differently: what runs is drained and started anew.
    pub instances: Named<InstanceId>,
    /// `[[instance]]`s that differ in what applies to a running process.
    pub adjusted: BTreeSet<InstanceId>,
    /// Plugins whose `[plugins.config.NAME]` differs.
    pub plugin_config: BTreeSet<PluginName>,
    /// Sinks; `changed` ones also where only a secret differs.
    pub sinks: Named<SinkName>,
    /// Whether any `[[token]]` differs.
    pub tokens: bool,
}

/// What came, went and changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<N: Ord> {
    /// Only in the new one.
    pub added: BTreeSet<N>,
    /// Only in the old one.
    pub removed: BTreeSet<N>,
    /// In both, and different.
    pub changed: BTreeSet<N>,
}

impl<N: Ord> Default for Named<N> {
    fn default() -> Self {
        Self {
            added: BTreeSet::new(),
            removed: BTreeSet::new(),
            changed: BTreeSet::new(),
        }
    }
}

impl ConfigChange {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Config {
    /// What a reload to `new` changes.
    #[must_use]
    pub fn diff(&self, new: &Self) -> ConfigChange {
        let mut change = ConfigChange {
            templates: named(&self.templates, &new.templates),
            plugin_config: differing(&self.plugins.config, &new.plugins.config),
            sinks: named(&self.sinks, &new.sinks),
            tokens: self.tokens != new.tokens,
            ..ConfigChange::default()
        };
        let of = |config: &Self| -> BTreeMap<InstanceId, Option<InstanceDefinition>> {
            let defined = |instance: &InstanceConfig| {
                (
                    instance.id.clone(),
                    config.define(instance, Source::Config).ok(),
                )
            };
            config.instance.iter().map(defined).collect()
        };
        let (ours, theirs) = (of(self), of(new));
        change.instances = named(&ours, &theirs);
        let relaunched = |id: &InstanceId| {
            let digest = |defined: &Option<InstanceDefinition>| {
                defined.as_ref().map(|defined| defined.launch.digest)
            };
            ours.get(id).map(digest) != theirs.get(id).map(digest)
        };
        (change.instances.changed, change.adjusted) =
            change.instances.changed.into_iter().partition(relaunched);
        let before: BTreeMap<&str, _> = compared(self).collect();
        let after: BTreeMap<&str, _> = compared(new).collect();
        for (key, (value, applies)) in &after {
            if before.get(key).is_some_and(|(before, _)| before == value) {
                continue;
            }
            match applies {
                Applies::Live => change.live.push((*key).to_owned()),
                Applies::Restart => change.restart.push((*key).to_owned()),
            }
        }
        change.live.extend(self.alert_lists_unlike(new));
        change.live.sort_unstable();
        change
    }

    /// Those lists of `[alerts]` that differ: their entries have no names by which they could be compared.
    fn alert_lists_unlike(&self, new: &Self) -> impl Iterator<Item = String> {
        let (ours, theirs) = (&self.alerts.settings, &new.alerts.settings);
        let lists = [
            ("alerts.route", ours.routes != theirs.routes),
            ("alerts.escalation", ours.escalations != theirs.escalations),
            ("alerts.maintenance", ours.maintenance != theirs.maintenance),
        ];
        let unlike = lists.into_iter().filter(|(_, is_other)| *is_other);
        unlike.map(|(key, _)| key.to_owned())
    }

    /// This configuration as far as a running router can take it: what needs a restart stays as in `running`.
    #[must_use]
    pub fn with_fixed_of(mut self, running: &Self) -> Self {
        let fixed = running.clone();
        self.working_dir = fixed.working_dir;
        self.server = Server {
            allowed_hosts: self.server.allowed_hosts,
            allowed_origins: self.server.allowed_origins,
            loopback_roles: self.server.loopback_roles,
            public_metrics: self.server.public_metrics,
            ..fixed.server
        };
        self.storage = fixed.storage;
        self.audit = fixed.audit;
        self.logging = Logging {
            level: self.logging.level,
            ..fixed.logging
        };
        self.instances.socket_dir = fixed.instances.socket_dir;
        self.instances.memory_interval = fixed.instances.memory_interval;
        self.instances.router_exit_grace = fixed.instances.router_exit_grace;
        self.instances.use_cgroup = fixed.instances.use_cgroup;
        self.instances.logs = fixed.instances.logs;
        self.plugins.dir = fixed.plugins.dir;
        for setting in self
            .settings
            .iter_mut()
            .filter(|setting| setting.applies == Applies::Restart)
        {
            if let Some(kept) = running.settings.iter().find(|kept| kept.key == setting.key) {
                setting.clone_from(kept);
            }
        }
        self
    }
}

/// A value and when another one counts.
type Compared<'c> = ((&'c Option<String>, &'c Option<Secret>), Applies);

/// The keys outside of what is compared as a whole.
fn compared(config: &Config) -> impl Iterator<Item = (&str, Compared<'_>)> {
    const AS_A_WHOLE: [&str; 7] = [
        "template.",
        "instance.",
        "token.",
        "sink.",
        "alerts.route.",
        "alerts.escalation.",
        "alerts.maintenance.",
    ];
    let singly = |setting: &&Setting| {
        setting.compared
            && !AS_A_WHOLE
                .iter()
                .any(|whole| setting.schema_key.starts_with(whole))
    };
    let settings = config.settings.iter().filter(singly);
    settings.map(|setting| {
        (
            setting.key.as_str(),
            ((&setting.value, &setting.secret), setting.applies),
        )
    })
}

fn named<N: Ord + Clone, V: PartialEq>(
    before: &BTreeMap<N, V>,
    after: &BTreeMap<N, V>,
) -> Named<N> {
    let only_in = |one: &BTreeMap<N, V>, other: &BTreeMap<N, V>| {
        one.keys()
            .filter(|name| !other.contains_key(name))
            .cloned()
            .collect()
    };
    let changed = after
        .iter()
        .filter(|(name, value)| before.get(name).is_some_and(|before| before != *value));
    Named {
        added: only_in(after, before),
        removed: only_in(before, after),
        changed: changed.map(|(name, _)| name.clone()).collect(),
    }
}

fn differing<V: PartialEq>(
    before: &BTreeMap<PluginName, V>,
    after: &BTreeMap<PluginName, V>,
) -> BTreeSet<PluginName> {
    let Named {
        added,
        removed,
        changed,
    } = named(before, after);
    added.into_iter().chain(removed).chain(changed).collect()
}

#[cfg(test)]
mod tests;
