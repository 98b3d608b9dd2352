//! Plugins: found in a directory, checked, compiled, asked, bounded and replaced, without the rest of the router noticing.
//!
//! It owns a thread of low priority on which every guest runs, so that no guest ever holds up a request. It decides nothing
//! about instances: a policy that does not answer is reported as such, and the core's built-in default answers in its place.

mod bindings;
mod contract;
mod directory;
mod engine;
mod generation;
mod guest;
mod loader;
mod machine;
mod options;
mod registry;
mod settings;
mod values;
mod view;

pub use contract::WORLD_SERVED;
pub use engine::{Engine, EngineError, ReloadReport};
pub use generation::{Failure, FailureKind};
pub use options::{EngineOptions, Grants, Limits, PluginSettings};
pub use registry::EngineEvent;
pub use values::{KeepError, Keeping, Kept, Loading, NoValues, ValueKeeper};
pub use view::{CallFigures, Decision, PluginView, Refusal};
