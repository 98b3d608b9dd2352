//! Reading the configuration.

use std::path::Path;

use anyhow::Context as _;
use router_config::{Config, Environment, Faults};

/// Reads the configuration file and the environment.
pub(crate) fn read(path: &Path) -> anyhow::Result<Result<Config, Faults>> {
    let environment =
        Environment::of_this_process().context("the working directory cannot be found")?;
    Ok(router_config::load_file(path, &environment))
}
