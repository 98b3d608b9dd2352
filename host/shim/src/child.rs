//! The child: its pipes, its environment, and the step between fork and exec.
//!
//! That step is this same binary, started through `/proc/self/exe` so that a replaced file on disk does not matter. It
//! arranges from inside what needs no `unsafe` there: signal mask, death with its parent, open-file limit, cgroup, directory.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use godot_mcp_shim::{
    cgroup,
    protocol::{Launch, Transport},
    tree::Identity,
};
use rustix::{
    io::{FdFlags, fcntl_setfd, ioctl_fionbio},
    pipe::{PipeFlags, pipe_with},
    process::{
        Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit,
    },
};

use crate::reaping::unblock_all;

/// What a shell says of a command that could not be executed.
const EXIT_NOT_EXECUTED: u8 = 127;

/// A child whose command may not have been executed yet.
#[derive(Debug)]
pub(crate) struct Child {
    /// The process.
    pub(crate) identity: Identity,
    /// Our end of its stdin (`stdio` transport), until it is to see end of file.
    pub(crate) stdin: Option<OwnedFd>,
    /// Our end of its stdout (`stdio` transport).
    pub(crate) stdout: Option<OwnedFd>,
    /// Our end of its stderr.
    pub(crate) stderr: OwnedFd,
    /// Ends empty when the command is executed, otherwise with the reason why it is not.
    pub(crate) exec_error: File,
}

/// Starts the step before the command.
///
/// # Errors
/// There are no descriptors or processes left.
pub(crate) fn spawn(launch: &Launch, cgroup: Option<&Path>) -> io::Result<Child> {
    let (exec_error, exec_error_theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, stderr_theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    ioctl_fionbio(&exec_error, true)?;
    ioctl_fionbio(&stderr, true)?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("godot-mcp-shim").arg("exec");
    command.arg(format!("--error-fd={}", exec_error_theirs.as_raw_fd()));
    command.arg(format!("--parent={}", std::process::id()));
    command.arg(joined("--cwd=", launch.cwd.as_os_str()));
    if let Some(files) = launch.max_open_files {
        command.arg(format!("--open-files={files}"));
    }
    if let Some(cgroup) = cgroup {
        command.arg(joined("--cgroup=", cgroup.as_os_str()));
    }
    command.arg("--").arg(&launch.command).args(&launch.args);
    command
        .env_clear()
        .envs(launch.child_env())
        .process_group(0);
    let (mut stdin, mut stdout) = (None, None);
    match launch.transport {
        Transport::Stdio => {
            let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
            ioctl_fionbio(&ours, true)?;
            command.stdin(theirs);
            stdin = Some(ours);
            let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
            ioctl_fionbio(&ours, true)?;
            command.stdout(theirs);
            stdout = Some(ours);
        }
        Transport::Socket => {
            command
                .stdin(Stdio::null())
                .stdout(stderr_theirs.try_clone()?);
        }
    }
    command.stderr(stderr_theirs);
    // Nothing else is spawned in between: this process has one thread.
    fcntl_setfd(&exec_error_theirs, FdFlags::empty())?;
    let pid = command.spawn()?.id();
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    // Not reaped yet, so it is still there to be read, dead or alive.
    let identity =
        Identity::of(pid).ok_or_else(|| io::Error::other("the child is not in /proc"))?;
    Ok(Child {
        identity,
        stdin,
        stdout,
        stderr,
        exec_error: exec_error.into(),
    })
}

/// What the step before the command is to arrange.
#[derive(Debug, Default)]
struct ExecStep {
    /// The descriptor on which it reports why the command cannot be executed.
    error_fd: i32,
    parent: i32,
    cwd: PathBuf,
    open_files: Option<u64>,
    cgroup: Option<PathBuf>,
    command: Vec<OsString>,
}

/// The step itself. Returns only if the command could not be executed.
pub(crate) fn become_command(arguments: &[OsString]) -> ExitCode {
    let step = ExecStep::parse(arguments);
    // Reopened, because a number cannot be taken over safely; this descriptor is closed by exec, and the inherited
    // one is closed here.
    let report = OpenOptions::new()
        .write(true)
        .open(format!("/proc/self/fd/{}", step.error_fd));
    let _not_open = nix::unistd::close(step.error_fd);
    let reason = match (&report, step.arrange()) {
        (Err(error), _) => format!("cannot report to the shim: {error}"),
        (Ok(_), Err(reason)) => reason,
        (Ok(_), Ok(mut command)) => {
            let error = command.exec();
            format!("{:?}: {error}", command.get_program())
        }
    };
    if let Ok(mut report) = report {
        let _shim_gone = report.write_all(reason.as_bytes());
    }
    ExitCode::from(EXIT_NOT_EXECUTED)
}

impl ExecStep {
    fn parse(arguments: &[OsString]) -> Self {
        let mut step = Self::default();
        let options = arguments
            .iter()
            .position(|one| one == "--")
            .unwrap_or(arguments.len());
        step.command = arguments.iter().skip(options + 1).cloned().collect();
        for option in arguments[..options]
            .iter()
            .filter_map(|option| option.to_str())
        {
            match option.split_once('=') {
                Some(("--error-fd", number)) => step.error_fd = number.parse().unwrap_or(-1),
                Some(("--parent", pid)) => step.parent = pid.parse().unwrap_or(-1),
                Some(("--cwd", path)) => step.cwd = path.into(),
                Some(("--open-files", files)) => step.open_files = files.parse().ok(),
                Some(("--cgroup", path)) => step.cgroup = Some(path.into()),
                _ => {}
            }
        }
        step
    }

    fn arrange(&self) -> Result<Command, String> {
        unblock_all().map_err(|error| format!("signal mask: {error}"))?;
        // Covers the child itself when the shim is killed; what the child started is swept by the router.
        set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|errno| format!("PR_SET_PDEATHSIG: {errno}"))?;
        if getppid().map(|parent| parent.as_raw_nonzero().get()) != Some(self.parent) {
            return Err("the shim died".to_owned());
        }
        if let Some(path) = &self.cgroup {
            // A cgroup that cannot be joined is no reason not to run: the tree is then killed by walking it.
            let _without = cgroup::join(path);
        }
        if let Some(files) = self.open_files {
            limit_open_files(files)
                .map_err(|errno| format!("cannot limit open files to {files}: {errno}"))?;
        }
        std::env::set_current_dir(&self.cwd)
            .map_err(|error| format!("working directory {:?}: {error}", self.cwd))?;
        let (program, rest) = self.command.split_first().ok_or("no command")?;
        let mut command = Command::new(program);
        command.args(rest);
        Ok(command)
    }
}

fn limit_open_files(files: u64) -> rustix::io::Result<()> {
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let files = files.min(hard);
    let limit = Rlimit {
        current: Some(files),
        maximum: Some(files),
    };
    setrlimit(Resource::Nofile, limit)
}

fn joined(option: &str, value: &OsStr) -> OsString {
    let mut whole = OsString::from(option);
    whole.push(value);
    whole
}
