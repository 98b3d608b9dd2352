//! Plugins: found in a directory, checked, compiled, asked, bounded and replaced, without the rest of the router noticing.
//!
//! It owns a thread of low priority on which policies run, so that none ever holds up a request, and one on which alert rules run, so
//! that no policy ever holds up an alarm. It decides nothing about instances: a policy that does not answer is reported as such, and
//! the core's built-in default answers in its place. Of the kinds of plugin only [`kinds`] knows anything.

mod bindings;
mod calls;
mod conditions;
mod contract;
mod deciding;
mod directory;
mod engine;
mod event;
mod failure;
mod generation;
mod guest;
mod kinds;
mod loader;
mod machine;
mod manifest;
mod options;
mod questions;
mod registry;
mod rejection;
mod settings;
mod shared;
mod sinks;
#[cfg(test)]
mod tests;
mod texts;
mod trials;
mod values;
mod view;
mod watcher;

pub use conditions::{Conditions, PluginFault};
pub use deciding::DecisionError;
pub use engine::{Engine, EngineError};
pub use event::EngineEvent;
pub use failure::{CallFailure, FailureKind};
pub use guest::ExchangeEnd;
pub use kinds::{
    DEFAULT_WORLD,
    sink::{Delivered, SinkAnswer},
};
pub use loader::PluginReload;
pub use options::{EngineOptions, Grants, Limits, NamedPolicies, PluginSettings, SinkDefinition};
pub use values::{Kept, LoadFuture, NoValues, SaveFuture, ValueError, ValueKeeper};
pub use view::{
    CandidateState, CandidateView, Decision, LastFailure, LifetimeFigures, PluginCalls, PluginView,
    Refusal, Unanswered,
};
