//! `instance`: the bundled MCP server, a program of its own beside this one.

use std::{
    ffi::OsString,
    io,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::Context as _;
use clap::Args;

/// The program that serves a project.
pub(super) const PROGRAM: &str = "godot-mcp-instance";

/// Everything after `instance`, its `--help` too, is for that program to read.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    #[arg(
        value_name = "ARGUMENTS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    arguments: Vec<OsString>,
}

/// Becomes the bundled server, under the same process id. Returns only if it cannot be executed.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let path = path().context("the path of this program is unknown")?;
    let error = Command::new(&path).args(&arguments.arguments).exec();
    Err(error).with_context(|| {
        let path = path.display();
        format!("cannot execute {path}: {PROGRAM} belongs beside godot-mcp-router")
    })
}

/// Where that program has to be: beside this one, as the shim is.
pub(super) fn path() -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(PROGRAM))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::{Arguments, run};

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        instance: Arguments,
    }

    #[test]
    fn every_argument_is_passed_on() {
        for given in [
            &["--project", "/srv/godot/a b"][..],
            &["--help"],
            &["--project", "a", "--", "-x"],
            &[],
        ] {
            let line = std::iter::once(&"instance").chain(given);
            let parsed = Line::try_parse_from(line).unwrap();
            assert_eq!(parsed.instance.arguments, given);
        }
    }

    #[test]
    fn a_missing_server_is_named_with_its_place() {
        // The folder of this test's program holds no other program under its plain name.
        let line = Line::try_parse_from(["instance"]).unwrap();
        let error = format!("{:#}", run(&line.instance).unwrap_err());
        let folder = std::env::current_exe().unwrap();
        let folder = folder.parent().unwrap().display().to_string();
        assert!(error.contains(&folder), "{error}");
        assert!(
            error.contains("godot-mcp-instance belongs beside"),
            "{error}"
        );
    }
}
