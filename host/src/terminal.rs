//! What the program prints while it does not log, and the exit codes it ends with (sysexits.h).

use std::{
    io::{self, Write as _},
    process::{self, ExitCode},
};

use router_values::printable;

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

/// As a shell reports a program that a closed pipe ended: 128 and SIGPIPE.
const EXIT_PIPE: i32 = 141;

/// A line for the caller of the program. Nothing in it acts on the terminal. Where nobody reads any more, as behind `| head`, the
/// program ends.
pub(crate) fn print(line: &str) {
    if writeln!(io::stdout(), "{}", printable(line)).is_err() {
        process::exit(EXIT_PIPE);
    }
}

/// A line about an error.
pub(crate) fn eprint(line: &str) {
    // Where nobody reads it, the exit code says it.
    let _ = writeln!(io::stderr(), "{}", printable(line));
}
