//! How much is logged, and how a line looks.

use std::fmt;

use crate::quoted;

/// How much is logged. Each level includes those above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FilterLevel {
    /// Nothing.
    Off,
    /// What failed.
    Error,
    /// What somebody should look at, too.
    Warn,
    /// What changed, too.
    Info,
    /// The steps in between, too.
    Debug,
    /// Each request, too.
    Trace,
}

impl FilterLevel {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "off" => Some(Self::Off),
            "error" => Some(Self::Error),
            "warn" | "warning" => Some(Self::Warn),
            "info" => Some(Self::Info),
            "debug" => Some(Self::Debug),
            "trace" => Some(Self::Trace),
            _ => None,
        }
    }
}

/// A level, or several by target: `info`, `info,router_proxy=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter {
    /// As it was written, with levels in lower case and without white space.
    text: String,
    default: FilterLevel,
    targets: Vec<(String, FilterLevel)>,
}

/// What is wrong with a text that is no filter. A misspelt level must not silence the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLogFilter {
    /// A text that is no level.
    #[error("{} is not a level", quoted(.0))]
    Level(String),
    /// A second level without a target.
    #[error("{} has two levels for everything", quoted(.0))]
    TwoDefaults(String),
    /// Nothing, or no module path, before the sign `=`.
    #[error("{} has no target before =", quoted(.0))]
    Target(String),
}

impl LogFilter {
    /// Parses `LEVEL`, or `LEVEL,target=LEVEL,…`, in any case; at most one level without a target. Without one, `info`.
    ///
    /// # Errors
    /// See [`InvalidLogFilter`].
    pub fn parse(text: &str) -> Result<Self, InvalidLogFilter> {
        let (mut parts, mut default, mut targets) = (Vec::new(), None, Vec::new());
        for part in text.split(',') {
            let (target, name) = match part.split_once('=') {
                Some((target, name)) => (Some(target.trim()), name),
                None => (None, part),
            };
            let name = name.trim().to_ascii_lowercase();
            let level =
                FilterLevel::parse(&name).ok_or_else(|| InvalidLogFilter::Level(name.clone()))?;
            let Some(target) = target else {
                if default.replace(level).is_some() {
                    return Err(InvalidLogFilter::TwoDefaults(text.to_owned()));
                }
                parts.push(name);
                continue;
            };
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
            if target.is_empty() || !target.bytes().all(is_plain) {
                return Err(InvalidLogFilter::Target(part.to_owned()));
            }
            parts.push(format!("{target}={name}"));
            targets.push((target.to_owned(), level));
        }
        Ok(Self {
            text: parts.join(","),
            default: default.unwrap_or(FilterLevel::Info),
            targets,
        })
    }

    /// The filter as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The level of what no target names.
    #[must_use]
    pub fn default_level(&self) -> FilterLevel {
        self.default
    }

    /// Targets with a level of their own, in the order of the text: of two for one target the later takes precedence.
    #[must_use]
    pub fn targets(&self) -> &[(String, FilterLevel)] {
        &self.targets
    }
}

/// `info`.
impl Default for LogFilter {
    fn default() -> Self {
        Self {
            text: "info".to_owned(),
            default: FilterLevel::Info,
            targets: Vec::new(),
        }
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people and `grep`: `2026-01-02T03:04:05.678Z  WARN router_proxy: request failed TIMEOUT version_id: demo elapsed_ms=5000`.
    #[default]
    Text,
    /// One JSON object per line; `words` holds what greps look for.
    Json,
}

impl LogFormat {
    /// As it is written in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FilterLevel, LogFilter};

    #[test]
    fn filters_are_levels_by_target() {
        for (text, kept) in [
            ("info", Some("info")),
            (" WARN ", Some("warn")),
            ("warning", Some("warning")),
            ("off", Some("off")),
            ("trace", Some("trace")),
            ("router_proxy=debug", Some("router_proxy=debug")),
            ("info,router_proxy=TRACE", Some("info,router_proxy=trace")),
            (
                "router_Proxy::Post = debug , info",
                Some("router_Proxy::Post=debug,info"),
            ),
            ("a=info,a=debug", Some("a=info,a=debug")),
            ("audit=off", Some("audit=off")),
            ("", None),
            (" ", None),
            ("inof", None),
            ("verbose", None),
            ("info,", None),
            (",info", None),
            ("info,debug", None),
            ("info,,debug", None),
            ("info;debug", None),
            ("=debug", None),
            ("a=", None),
            ("router_proxy=loud", None),
            ("a=b=info", None),
            ("a b=info", None),
            ("a-b=info", None),
            ("[span]=info", None),
            ("5", None),
            ("ÖFF", None),
        ] {
            let parsed = LogFilter::parse(text).ok();
            assert_eq!(parsed.as_ref().map(LogFilter::as_str), kept, "{text:?}");
        }
    }

    #[test]
    fn what_no_target_names_has_a_level_too() {
        let filter = LogFilter::parse("a=debug,warning,b::c=off").unwrap();
        assert_eq!(filter.default_level(), FilterLevel::Warn);
        let targets = [("a", FilterLevel::Debug), ("b::c", FilterLevel::Off)];
        let targets = targets.map(|(target, level)| (target.to_owned(), level));
        assert_eq!(filter.targets(), targets);
        let default = LogFilter::parse("a=debug").unwrap().default_level();
        assert_eq!(default, FilterLevel::Info);
        assert_eq!(LogFilter::parse("info"), Ok(LogFilter::default()));
    }
}
