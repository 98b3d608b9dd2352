//! Which plugins policies name: kept so that one instance more or less costs what that instance names.

use std::collections::{BTreeMap, BTreeSet};

use router_config::Config;
use router_core::{InstanceId, spec::InstanceSpec};
use router_engine::NamedPolicies;

use crate::wiring::engine::{self, NamedPolicy};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct PoliciesInUse {
    in_file: BTreeSet<NamedPolicy>,
    /// What registered instances name besides.
    registered: BTreeMap<InstanceId, BTreeSet<NamedPolicy>>,
}

impl PoliciesInUse {
    /// Those of a configuration and of registered instances.
    pub(crate) fn of(config: &Config, registered: &[InstanceSpec]) -> Self {
        let mut policies = Self {
            in_file: engine::policies(config),
            registered: BTreeMap::new(),
        };
        for spec in registered {
            policies.add(spec);
        }
        policies
    }

    /// A registered instance more. Whether a name may be new with it.
    pub(crate) fn add(&mut self, spec: &InstanceSpec) -> bool {
        let mut names = engine::policies_of(spec);
        names.retain(|name| !self.in_file.contains(name));
        let is_new = !names.is_empty();
        if is_new {
            self.registered.insert(spec.id.clone(), names);
        }
        is_new
    }

    /// A registered instance less. Whether a name may be gone with it.
    pub(crate) fn remove(&mut self, id: &InstanceId) -> bool {
        self.registered.remove(id).is_some()
    }

    /// All names, each with what it is named for.
    pub(crate) fn names(&self) -> NamedPolicies {
        let registered = self.registered.values().flatten();
        engine::by_name(self.in_file.iter().chain(registered))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use router_config::{Environment, load, parse_instance_json};
    use router_core::{
        policy::PolicyKind,
        spec::{InstanceSpec, Source},
    };

    use super::PoliciesInUse;

    #[test]
    fn a_policy_may_be_named_in_four_places() {
        let environment = Environment::new(Path::new("/"), [("", ""); 0]);
        let text = "[policy]\nhealth = 'global'\n\
             [template.t]\ncommand = 'x'\npolicy = { health = 'of-template' }\n\
             [template.u]\ncommand = 'x'\npolicy = { health = 'builtin' }\n\
             [[instance]]\nid = 'a'\ntemplate = 't'\npolicy = { health = ['of-instance', 'builtin', 'second'] }\n";
        let config = load(text, Path::new("router.toml"), &environment).unwrap();
        let registered = |id: &str, policy: &str| -> InstanceSpec {
            let body =
                format!(r#"{{"id": "{id}", "template": "u", "policy": {{"health": "{policy}"}}}}"#);
            let instance = parse_instance_json(&body, &config).unwrap();
            config.define(&instance, Source::Api).unwrap().spec
        };
        let names = |names: &[&str]| -> BTreeSet<String> {
            names.iter().map(ToString::to_string).collect()
        };
        let named = |policies: &PoliciesInUse| -> BTreeSet<String> {
            let named = policies.names();
            let kinds = &named["global"];
            assert_eq!(
                kinds.iter().copied().collect::<Vec<_>>(),
                [PolicyKind::Health]
            );
            // The bundled policies of the other kinds are named where no other is.
            let is_health = |kinds: &BTreeSet<PolicyKind>| kinds.contains(&PolicyKind::Health);
            let named = named.into_iter().filter(|(_, kinds)| is_health(kinds));
            named.map(|(name, _)| name).collect()
        };
        let own = registered("b", "of-registered");
        let in_file = ["global", "of-instance", "of-template", "second"];
        let all = [
            "global",
            "of-instance",
            "of-registered",
            "of-template",
            "second",
        ];
        let mut policies = PoliciesInUse::of(&config, std::slice::from_ref(&own));
        assert_eq!(named(&policies), names(&all));
        // What the file names too is no news, neither when it comes nor when it goes.
        let shared = registered("c", "of-template");
        assert!(!policies.add(&shared) && !policies.remove(&shared.id));
        let another = registered("d", "of-registered");
        assert!(policies.add(&another) && policies.remove(&own.id));
        assert_eq!(named(&policies), names(&all));
        assert!(policies.remove(&another.id));
        assert_eq!(named(&policies), names(&in_file));
    }
}
