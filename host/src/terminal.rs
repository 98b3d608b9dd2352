//! What the program prints while it does not log, and the exit codes it ends with (sysexits.h).

use std::process::ExitCode;

/// The configuration (file, flags, variables) is invalid: `EX_USAGE`.
pub(crate) const EXIT_CONFIG: u8 = 64;
/// Something that is needed is not available: `EX_UNAVAILABLE`.
pub(crate) const EXIT_UNAVAILABLE: u8 = 69;

/// Prints every fault of a configuration.
pub(crate) fn refuse(faults: &router_config::Faults) -> ExitCode {
    eprint(&faults.to_string());
    refused(faults.faults.len())
}

/// Prints which sinks of a configuration could deliver nothing, each a line with its place.
pub(crate) fn refuse_sinks(faults: &[String]) -> ExitCode {
    faults.iter().for_each(|fault| eprint(fault));
    refused(faults.len())
}

fn refused(count: usize) -> ExitCode {
    let noun = if count == 1 { "fault" } else { "faults" };
    eprint(&format!(
        "godot-mcp-router: {count} {noun} in the configuration"
    ));
    ExitCode::from(EXIT_CONFIG)
}

/// A line for the caller of the program.
#[allow(clippy::print_stdout, reason = "this is what the commands are for")]
pub(crate) fn print(line: &str) {
    println!("{line}");
}

/// A line about an error.
#[allow(
    clippy::print_stderr,
    reason = "logging does not run yet, or never will"
)]
pub(crate) fn eprint(line: &str) {
    eprintln!("{line}");
}
