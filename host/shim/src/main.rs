//! The shim: a small, single-threaded process that owns one slot and outlives the router.
//!
//! `run` is started by a router with its control connection on stdin, and takes everything else from there.
//! `exec` is what `run` starts in the child, to arrange what only the child itself can arrange, before the command.

mod child;
mod launch;
mod listener;
mod peers;
mod reaping;
mod slot;
mod stderr_log;

use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    process::ExitCode,
};

/// Wrong use of the command line (sysexits.h, EX_USAGE).
const EXIT_USAGE: u8 = 64;

const USAGE: &str = "godot-mcp-shim owns one instance's process for godot-mcp-router, which starts it.\n\
It is not meant to be run by hand. SIGTERM stops its instance in order, then itself.";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let verb = arguments.next().unwrap_or_default();
    match verb.to_str() {
        Some("run") => match run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("godot-mcp-shim: {error}"), 1),
        },
        Some("exec") => child::become_command(&arguments.collect::<Vec<OsString>>()),
        Some("--version") => {
            let _closed = writeln!(io::stdout(), "godot-mcp-shim {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => fail(USAGE, EXIT_USAGE),
    }
}

fn fail(text: &str, code: u8) -> ExitCode {
    let _closed = writeln!(io::stderr(), "{text}");
    ExitCode::from(code)
}

fn run() -> Result<(), launch::LaunchError> {
    close_inherited();
    let signals = reaping::ShimSignals::block()?;
    let control = detach()?;
    // The name that `ps` shows; without this it is that of the descriptor or link we were started through.
    let _cosmetic = fs::write("/proc/self/comm", "godot-mcp-shim");
    let mut peer = peers::Peer::accept(control)?;
    let (hello, launch) = launch::receive(&mut peer)?;
    match launch::open(launch, &hello, signals, &peer) {
        Ok(slot) => slot.serve(peer, &hello),
        Err(error) => peer.send_last(&godot_mcp_shim::protocol::FromShim::SpawnFailed {
            error: error.to_string(),
        }),
    }
    Ok(())
}

/// Closes every inherited descriptor past stderr. A router closes its own descriptors on exec, but may itself have been
/// started with others (by a service manager, a shell, an editor), and neither we nor the child may keep them open.
fn close_inherited() {
    let names = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name());
    let numbers: Vec<i32> = names
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // The descriptor of the directory just read is among them, and closed already.
        let _closed_already = nix::unistd::close(number);
    }
}

/// Leaves the router's session and directory, and gives the control connection a descriptor past the standard ones.
fn detach() -> Result<OwnedFd, io::Error> {
    let control = io::stdin().as_fd().try_clone_to_owned()?;
    let null = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    // Refused only to the leader of a process group, which a router's child is not.
    let _leader_already = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    rustix::process::chdir("/")?;
    Ok(control)
}
