//! The policies that judge together: `health = "a"`, or `health = ["a", "b"]`; and that no plugin is named for
//! questions of two kinds.

use std::collections::BTreeMap;

use router_core::policy::PolicyNames;

use crate::{
    Config, PolicyName,
    node::Raw,
    reader::ConfigReader,
    value::{InvalidValue, Shape, Value},
};

/// Most policies that judge together: each is asked about every slot, and guests share one thread.
const POLICIES_MAX: usize = 8;

/// See the module. At least one, and none twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyList(Vec<PolicyName>);

impl PolicyList {
    /// The plugins among them.
    pub fn plugins(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(PolicyName::plugin)
    }

    /// Whom the core asks, in this order. None where only the built-in rule judges, which needs no asking.
    #[must_use]
    pub fn names(&self) -> PolicyNames {
        if self.plugins().next().is_none() {
            return PolicyNames::default();
        }
        self.0.iter().map(|name| name.as_str().into()).collect()
    }
}

/// A plugin is of one kind: one that is named for questions of two cannot answer both.
/// `places` are the sections of the instances.
pub(crate) fn check_kinds(config: &Config, places: &[String], reader: &ConfigReader<'_>) {
    let mut kinds = BTreeMap::new();
    for NamedPlugin { plugin, kind, key } in named_plugins(config, places) {
        let (first_kind, first_key) = kinds.entry(plugin).or_insert((kind, key.clone()));
        if *first_kind != kind {
            let what = format!("names {plugin}, which {first_key} names too");
            let remedy = format!(
                "a plugin is of one kind: name one that is {kind} here, and one that is {first_kind} there"
            );
            reader.fault_at(&key, what, remedy);
        }
    }
}

/// A plugin, of which kind it has to be there, and the key that names it.
struct NamedPlugin<'c> {
    plugin: &'c str,
    /// With its article.
    kind: &'static str,
    key: String,
}

fn named_plugins<'c>(config: &'c Config, places: &[String]) -> Vec<NamedPlugin<'c>> {
    let mut all = Vec::new();
    let mut add = |plugin: &'c str, kind, key: String| {
        all.push(NamedPlugin { plugin, kind, key });
    };
    for (section, health, breaker) in sections(config, places) {
        for plugin in health.into_iter().flat_map(PolicyList::plugins) {
            add(plugin, "a health policy", format!("{section}policy.health"));
        }
        if let Some(plugin) = breaker.and_then(PolicyName::plugin) {
            let key = format!("{section}policy.breaker");
            add(plugin, "a breaker policy", key);
        }
    }
    if let Some(plugin) = config.policies.capacity.plugin() {
        add(plugin, "a capacity policy", "policy.capacity".to_owned());
    }
    for rule in &config.alerts.settings.rules {
        add(rule, "an alert rule", "alerts.rules".to_owned());
    }
    for (name, sink) in &config.sinks {
        let key = format!("sink.{name}.plugin");
        add(sink.plugin.as_str(), "an alert sink", key);
    }
    all
}

/// What each section names, with what its keys begin with.
fn sections<'c>(
    config: &'c Config,
    places: &[String],
) -> Vec<(String, Option<&'c PolicyList>, Option<&'c PolicyName>)> {
    let templates = config.templates.iter();
    let templates = templates.map(|(name, one)| (format!("template.{name}."), &one.tuning));
    let instances = places.iter().zip(&config.instance);
    let instances = instances.map(|(place, one)| (format!("{place}."), &one.tuning));
    let own = templates.chain(instances).map(|(section, tuning)| {
        let (health, breaker) = (&tuning.health_policies, &tuning.breaker_policy);
        (section, health.as_ref(), breaker.as_ref())
    });
    let all = &config.policies;
    let all = (String::new(), Some(&all.health), Some(&all.breaker));
    std::iter::once(all).chain(own).collect()
}

impl From<PolicyName> for PolicyList {
    fn from(name: PolicyName) -> Self {
        Self(vec![name])
    }
}

impl Value for PolicyList {
    const SHAPE: Shape = Shape::List(&Shape::Text);

    fn read(raw: &Raw) -> Result<Self, Vec<InvalidValue>> {
        let Raw::List(_) = raw else {
            return PolicyName::read(raw).map(Self::from);
        };
        let names = Vec::<PolicyName>::read(raw)?;
        let refuse = |what: String, remedy| Err(vec![InvalidValue::new(what, remedy)]);
        let twice = names
            .iter()
            .enumerate()
            .find(|(at, name)| names[..*at].contains(name));
        match twice {
            _ if names.is_empty() => refuse(
                "names no policy".to_owned(),
                "write the name of a plugin (its file without .wasm), or \"builtin\"",
            ),
            Some((_, name)) => refuse(
                format!("names {} twice", name.show()),
                "name each policy once",
            ),
            None if names.len() > POLICIES_MAX => refuse(
                format!("names {} policies", names.len()),
                "name at most 8: each is asked about every slot",
            ),
            None => Ok(Self(names)),
        }
    }

    fn show(&self) -> String {
        match self.0.as_slice() {
            [name] => name.show(),
            names => names.to_vec().show(),
        }
    }
}
