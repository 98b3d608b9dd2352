//! A plugin's configuration, and checking it.

use crate::bindings::router::common::types;

pub use types::{ConfigFault, SettingValue as Value};

/// `[plugins.config.NAME]`, flattened: `limits.memory_mb`.
#[derive(Debug, Clone, Default)]
pub struct Settings(Vec<(String, Value)>);

impl Settings {
    /// Settings for a test.
    pub fn of(pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let pairs = pairs.into_iter();
        Self(pairs.map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// As they come with a call.
    #[doc(hidden)]
    #[must_use]
    pub fn from_guest(settings: Vec<types::Setting>) -> Self {
        let settings = settings.into_iter();
        Self(settings.map(|one| (one.key, one.value)).collect())
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    }

    /// The value of a key as a number; whole numbers are numbers too.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<f64> {
        match self.get(key)? {
            Value::Whole(whole) => Some(*whole as f64),
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The value of a key as text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Every key, in the order of the file.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    /// The faults of settings that are all numbers: keys that are not among `known`, and values that are no number within
    /// the key's bounds.
    #[must_use]
    pub fn check_numbers(&self, known: &[(&str, f64, f64)]) -> Vec<ConfigFault> {
        let mut faults = Vec::new();
        for key in self.keys() {
            let reason = match known.iter().find(|(name, _, _)| *name == key) {
                None => {
                    let names: Vec<&str> = known.iter().map(|(name, _, _)| *name).collect();
                    format!("is not known; there are {}", names.join(", "))
                }
                Some((_, least, most)) => match self.number(key) {
                    Some(number) if (*least..=*most).contains(&number) => continue,
                    Some(number) => format!("is {number}; expected {least} to {most}"),
                    None => format!("is no number; expected {least} to {most}"),
                },
            };
            faults.push(ConfigFault {
                key: key.to_owned(),
                reason,
            });
        }
        faults
    }
}
