//! `NAME.toml` beside a plugin: what it is for and what it asks for. It only asks: the operator grants, to a sink.

use std::{collections::BTreeMap, fmt};

use router_values::Secret;
use serde::Deserialize;

use crate::{Grants, SinkDefinition, rejection::Rejection};

/// See the module.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// The world that it is for; only compared with the file.
    pub(crate) world: Option<String>,
    #[serde(default)]
    requests: Requests,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Requests {
    #[serde(default)]
    http: Vec<String>,
    /// Without these a sink delivers nothing.
    #[serde(default)]
    secrets: Vec<NeededSecret>,
    /// These are used where they are given.
    #[serde(default)]
    optional_secrets: Vec<String>,
}

/// A secret, or several of which one is enough.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum NeededSecret {
    One(String),
    OneOf(Vec<String>),
}

impl Manifest {
    /// Reads the manifest of a plugin; an empty text is none.
    pub(crate) fn parse(plugin: &str, text: &str) -> Result<Self, Rejection> {
        let manifest: Self = toml::from_str(text).map_err(|error| {
            let reason = format!("its manifest {plugin}.toml is faulty: {error}");
            Rejection::new("manifest", reason)
        })?;
        let needed = &manifest.requests.secrets;
        if needed.iter().any(|one| one.names().is_empty()) {
            let reason = format!("its manifest {plugin}.toml asks for a secret without a name");
            return Err(Rejection::new("manifest", reason));
        }
        Ok(manifest)
    }

    /// Whether a sink gives what the plugin cannot do without.
    ///
    /// # Errors
    /// Says what it lacks, and where that is given.
    pub(crate) fn check_secrets(&self, entry: &str, sink: &SinkDefinition) -> Result<(), String> {
        let given = &sink.egress.secrets;
        let lacking: Vec<&NeededSecret> = self.lacking(Some(sink)).collect();
        let Some(first) = lacking.first().and_then(|one| one.names().first()) else {
            return Ok(());
        };
        let names: Vec<String> = lacking.iter().map(ToString::to_string).collect();
        let mut others = given.keys().filter(|name| !self.knows(name)).peekable();
        let others = match others.peek() {
            Some(_) => format!(
                " (it does not use {})",
                others.cloned().collect::<Vec<_>>().join(", ")
            ),
            None => String::new(),
        };
        Err(format!(
            "{entry}.secrets lacks {}, which the plugin {} needs{others}: name the variable that holds it, as in \
             secrets = {{ {first} = \"{}\" }}",
            names.join(" and "),
            sink.plugin,
            first.to_ascii_uppercase()
        ))
    }

    fn lacking<'a>(
        &'a self,
        sink: Option<&'a SinkDefinition>,
    ) -> impl Iterator<Item = &'a NeededSecret> {
        let needed = self.requests.secrets.iter();
        needed.filter(move |one| sink.is_none_or(|sink| !one.is_in(&sink.egress.secrets)))
    }

    fn knows(&self, name: &String) -> bool {
        let needed = self.requests.secrets.iter();
        needed.flat_map(NeededSecret::names).any(|one| one == name)
            || self.requests.optional_secrets.contains(name)
    }

    /// What operators see that it asks for; of a sink, the secrets that it does not give.
    pub(crate) fn requested(&self, sink: Option<&SinkDefinition>) -> Grants {
        Grants {
            http: self.requests.http.clone(),
            secrets: self.lacking(sink).map(ToString::to_string).collect(),
        }
    }
}

impl NeededSecret {
    fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::OneOf(names) => names,
        }
    }

    fn is_in(&self, given: &BTreeMap<String, Secret>) -> bool {
        self.names().iter().any(|name| given.contains_key(name))
    }
}

impl fmt::Display for NeededSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use router_egress::EgressOptions;
    use router_values::Secret;

    use super::Manifest;
    use crate::SinkDefinition;

    fn lacking(manifest: &str, given: &[&str]) -> Option<String> {
        let secrets = given
            .iter()
            .map(|name| ((*name).to_owned(), Secret::new("x")));
        let sink = SinkDefinition {
            plugin: "pigeon".to_owned(),
            config: toml::Table::new(),
            egress: EgressOptions {
                secrets: secrets.collect(),
                ..EgressOptions::default()
            },
        };
        let manifest = Manifest::parse("pigeon", manifest).unwrap();
        manifest.check_secrets("sink.a", &sink).err()
    }

    #[test]
    fn what_a_sink_lacks_of_what_its_plugin_needs_is_named() {
        assert_eq!(lacking("", &[]), None);
        let all = "[requests]\nsecrets = ['key', ['url', 'token']]\noptional_secrets = ['next']";
        assert_eq!(lacking(all, &["key", "url"]), None);
        assert_eq!(lacking(all, &["key", "token", "next", "other"]), None);
        let said = lacking(all, &["kye", "next"]).unwrap();
        assert_eq!(
            said,
            "sink.a.secrets lacks key and url or token, which the plugin pigeon needs (it does not use kye): name the variable \
             that holds it, as in secrets = { key = \"KEY\" }"
        );
        let said = lacking(all, &["key"]).unwrap();
        assert!(said.contains("lacks url or token, which"), "{said}");
    }

    #[test]
    fn a_manifest_that_asks_for_nothing_that_has_a_name_is_faulty() {
        for text in ["[requests]\nsecrets = [[]]", "[requests]\nsecrets = [1]"] {
            let rejection = Manifest::parse("pigeon", text).unwrap_err();
            assert_eq!(rejection.code, "manifest", "{text}");
            assert!(rejection.reason.contains("pigeon.toml"), "{rejection}");
        }
    }
}
