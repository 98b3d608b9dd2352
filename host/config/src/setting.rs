//! What is configured, key by key, as it is shown and compared: the effective value, where it comes from, and whether a
//! running router can take another one.

use router_values::Secret;

use crate::Place;

/// When a changed key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    /// With the reload.
    Live,
    /// With the next start of the router.
    Restart,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingOrigin {
    /// Nobody set it.
    Default,
    /// This line of the file.
    Line(usize),
    /// This environment variable.
    Variable(String),
}

impl SettingOrigin {
    pub(crate) fn of(place: Option<&Place>) -> Self {
        match place {
            Some(Place::Line { line, .. }) => Self::Line(*line),
            Some(Place::Variable(name)) => Self::Variable(name.clone()),
            // Nobody asks where a request's keys come from.
            Some(Place::File | Place::Body) | None => Self::Default,
        }
    }
}

/// One key of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The key from the top, as it is written in the file: `server.listen`, `template.godot.command`.
    pub key: String,
    /// Which key of the schema it is: as [`Setting::key`], with `NAME` where a name is chosen and no numbers.
    pub schema_key: String,
    /// The value in force, as TOML; `[redacted]` for a secret. `None`: not set and without a default.
    pub value: Option<String>,
    /// The built-in default, as TOML; `None` where there is none.
    pub default: Option<String>,
    /// Where the value comes from.
    pub origin: SettingOrigin,
    /// When a change of it counts.
    pub applies: Applies,
    /// The secret itself, to be compared and never shown.
    pub(crate) secret: Option<Secret>,
    /// Whether another value is a change of its own, and not only a part of one.
    pub(crate) compared: bool,
}
