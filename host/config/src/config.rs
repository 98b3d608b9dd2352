//! The whole configuration, and how it is read.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    Audit, Breaker, Environment, Faults, Health, InstanceConfig, Instances, Logging, Plugins,
    Policies, Server, Setting, Storage, Template, TemplateName, Token,
};

/// Everything that the router is told. Holds no invalid value.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it was read, for messages.
    pub file: PathBuf,
    /// What relative paths started from.
    pub working_dir: PathBuf,
    /// `[server]`.
    pub server: Server,
    /// `[[token]]`.
    pub tokens: Vec<Token>,
    /// `[storage]`.
    pub storage: Storage,
    /// `[audit]`.
    pub audit: Audit,
    /// `[logging]`.
    pub logging: Logging,
    /// `[instances]`.
    pub instances: Instances,
    /// `[breaker]`.
    pub breaker: Breaker,
    /// `[health]`.
    pub health: Health,
    /// `[policy]`.
    pub policies: Policies,
    /// `[plugins]`.
    pub plugins: Plugins,
    /// `[template.NAME]`.
    pub templates: BTreeMap<TemplateName, Template>,
    /// `[[instance]]`, in the order of the file.
    pub instance: Vec<InstanceConfig>,
    /// What is not wrong, and yet may not be what was meant.
    pub notices: Vec<Notice>,
    /// Every key with its value, its default and where the value comes from, in the order of the schema.
    pub settings: Vec<Setting>,
}

/// Something that is not wrong, and yet may not be what was meant. Said by `check` and logged at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The key or the variable.
    pub key: String,
    /// What, and what to do about it.
    pub what: String,
}

/// Reads a configuration. `path` is only for messages; relative paths in the text start from the environment's working
/// directory.
///
/// # Errors
/// Everything that is wrong with the text or the environment.
pub fn load(_text: &str, _path: &Path, _environment: &Environment) -> Result<Config, Faults> {
    unimplemented!()
}

/// Reads the body of `POST /api/instances`: a JSON object with the keys of `[[instance]]`, by the same rules. `id` may be a
/// number. The ids and the number of the instances that are already there are the caller's business.
///
/// # Errors
/// Everything that is wrong with it, also with what it makes of its template.
pub fn parse_instance_json(_text: &str, _config: &Config) -> Result<InstanceConfig, Faults> {
    unimplemented!()
}
