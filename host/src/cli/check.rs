//! `check`: everything that is wrong with a configuration, and with the plugins that it names, without starting an instance.

use std::{path::Path, process::ExitCode};

use crate::{
    terminal::{print, refuse, refuse_sinks},
    wiring::{config, plugin_check},
};

pub(crate) fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let config = match config::read(path)? {
        Ok(config) => config,
        Err(faults) => return Ok(refuse(&faults)),
    };
    for notice in &config.notices {
        print(&format!("note: {}: {}", notice.key, notice.what));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let found = runtime.block_on(plugin_check::examine(&config));
    for fault in &found.others {
        print(&format!("note: {fault}"));
    }
    if !found.sinks.is_empty() {
        return Ok(refuse_sinks(&found.sinks));
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
