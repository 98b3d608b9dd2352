//! `--config`, which most commands take.

use std::path::PathBuf;

use clap::Args;

/// Which configuration file.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigArgument {
    /// The configuration file.
    #[arg(long, default_value = "config/router.toml", value_name = "FILE")]
    pub(crate) config: PathBuf,
}
