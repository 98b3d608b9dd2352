//! What happens to plugins that operators should know of.

use std::time::Duration;

/// Something that operators should know of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineEvent {
    /// A generation was taken into service.
    Swapped {
        /// Which plugin.
        plugin: String,
        /// Which generation.
        generation: u64,
        /// What it says it does.
        summary: String,
    },
    /// A candidate was refused; the generation before goes on.
    Refused {
        /// Which plugin.
        plugin: String,
        /// Why, and what to do.
        reason: String,
        /// Which generation goes on; 0: none.
        serving: u64,
    },
    /// A generation would take away too much, and is not in force until an operator confirms it.
    Held {
        /// Which plugin.
        plugin: String,
        /// Which generation.
        generation: u64,
        /// What it would do.
        reason: String,
    },
    /// An operator rejected a generation.
    Rejected {
        /// Which plugin.
        plugin: String,
        /// Which generation.
        generation: u64,
        /// Which one is in force; 0: none.
        serving: u64,
    },
    /// It failed too often in a row, and is not asked for a while.
    Quarantined {
        /// Which plugin.
        plugin: String,
        /// How it failed last.
        reason: String,
        /// For how long.
        pause: Duration,
    },
    /// It answered again.
    Released {
        /// Which plugin.
        plugin: String,
    },
    /// No policy uses it any more, so that its quarantine ended without a trial.
    Lapsed {
        /// Which plugin.
        plugin: String,
    },
    /// A policy names it, and there is no such plugin.
    Missing {
        /// Which plugin.
        plugin: String,
    },
    /// Its file is gone.
    Removed {
        /// Which plugin.
        plugin: String,
    },
}

impl EngineEvent {
    /// Which plugin it happened to.
    #[must_use]
    pub fn plugin(&self) -> &str {
        match self {
            Self::Swapped { plugin, .. }
            | Self::Refused { plugin, .. }
            | Self::Held { plugin, .. }
            | Self::Rejected { plugin, .. }
            | Self::Quarantined { plugin, .. }
            | Self::Released { plugin }
            | Self::Lapsed { plugin }
            | Self::Missing { plugin }
            | Self::Removed { plugin } => plugin,
        }
    }
}
