//! What a reload changes.

use std::collections::BTreeSet;

use router_core::InstanceId;

use crate::{Config, PluginName, TemplateName};

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
    /// Plugins whose `[plugins.grants.NAME]`, or a granted secret, differs.
    pub plugin_grants: BTreeSet<PluginName>,
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
    pub fn diff(&self, _new: &Self) -> ConfigChange {
        unimplemented!()
    }
}
