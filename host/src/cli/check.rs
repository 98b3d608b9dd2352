//! `check`: everything that is wrong with a configuration, without starting anything.

use std::{path::Path, process::ExitCode};

use crate::{
    terminal::{print, refuse},
    wiring::config,
};

pub(crate) fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let config = match config::read(path)? {
        Ok(config) => config,
        Err(faults) => return Ok(refuse(&faults)),
    };
    for notice in &config.notices {
        print(&format!("note: {}: {}", notice.key, notice.what));
    }
    print(&format!(
        "{} is fine: {} template(s), {} instance(s), listening on {}",
        path.display(),
        config.templates.len(),
        config.instance.len(),
        config.server.listen
    ));
    Ok(ExitCode::SUCCESS)
}
