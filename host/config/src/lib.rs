//! The configuration: one file, the environment that wins over it, and every fault of both at once.
//!
//! [`load`] turns a text and an [`Environment`] into a [`Config`] that holds no invalid value, or into [`Faults`] that name
//! key, line, column and remedy of everything that is wrong. Nothing is bound or started here; the only files read
//! are the one that [`load_file`] is given and those that the configuration names as holding a secret.
//!
//! **Relative paths** are taken from the directory that the router is started in, not from the file's: `make run` and the
//! shipped `config/router.toml` mean the project's root. They are absolute in [`Config`].

mod alerts;
mod change;
mod config;
mod environment;
mod fault;
mod instance;
mod instances;
mod judging;
mod launch;
mod logging;
mod names;
mod node;
mod pattern;
mod plugins;
mod policies;
mod reader;
mod server;
mod setting;
mod sinks;
mod storage;
mod suggest;
mod template;
mod value;

pub use alerts::{Alerts, WebAddress};
pub use change::{ConfigChange, Named};
pub use config::{Config, Notice, load, load_file, parse_instance_json};
pub use environment::Environment;
pub use fault::{ConfigFault, Faults, Place};
pub use instance::InstanceConfig;
pub use instances::{CrashLoop, InstanceLogs, Instances, Restart, StopConfig};
pub use judging::{BreakerConfig, HealthConfig, Policies};
pub use launch::{InstanceDefinition, LaunchPlan, Waits};
pub use logging::Logging;
pub use names::{ChainName, InvalidName, PluginName, PolicyName, SinkName, TemplateName};
pub use plugins::{PluginLimits, Plugins};
pub use policies::PolicyList;
pub use server::{Server, TokenConfig};
pub use setting::{Applies, Setting, SettingOrigin};
pub use sinks::{SinkConfig, SinkRate};
pub use storage::{Audit, Storage, TableName};
pub use suggest::nearest;
pub use template::{Era, Sharing, Switchable, Template, Tuning};
