//! The policies that judge together: `health = "a"`, or `health = ["a", "b"]`.

use router_core::policy::PolicyNames;

use crate::{
    PolicyName,
    node::Raw,
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
