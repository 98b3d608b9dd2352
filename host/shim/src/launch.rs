//! From the first byte on the control connection to a slot that is ours with its child started.

use std::{
    io,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{
    child,
    listener::{BindError, Listener, remove_stale_socket},
    peers::Peer,
    reaping::ShimSignals,
    slot::{SlotParts, SlotServer},
    stderr_log::StderrLog,
};
use godot_mcp_shim::{
    cgroup,
    protocol::{Hello, Launch, ToShim},
    record::{self, LockError, SlotLock, SlotRecord},
    tree::{self, Identity, SweepTarget},
};
use router_values::unix_ms_now;

/// How long the router may take to send what to run. It has the message ready when it starts us.
const LAUNCH_WITHIN: Duration = Duration::from_secs(30);

/// How long a predecessor that is just exiting may keep the lock.
const LOCK_WITHIN: Duration = Duration::from_secs(2);

/// Between two attempts at it: a lock cannot be waited for with a deadline.
const LOCK_INTERVAL: Duration = Duration::from_millis(10);

/// How long the remains of a predecessor that was killed may take to die.
const SWEEP_WITHIN: Duration = Duration::from_secs(5);

/// Why there is no slot to serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// What the shim needs of the system before it can serve.
    #[error("cannot set up: {0}")]
    SetUp(#[from] io::Error),
    /// The router did not send what to run.
    #[error("no launch message came: {0}")]
    NoLaunch(#[source] io::Error),
    /// The router speaks no protocol of ours, or its first message is another one.
    #[error(
        "the router began with something other than a hello of protocol {}",
        godot_mcp_shim::protocol::PROTOCOL
    )]
    NotARouter,
    /// The slot is not free.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The control socket cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The lock cannot be written.
    #[error("slot lock {}: {source}", path.display())]
    Record {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The router went away before the child was started.
    #[error("the router is gone")]
    RouterGone,
    /// No process can be started.
    #[error("cannot start a process for {command:?}: {source}")]
    Fork {
        /// For what.
        command: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Waits for the hello and the launch.
///
/// # Errors
/// They do not come.
pub(crate) fn receive(peer: &mut Peer) -> Result<(Hello, Launch), LaunchError> {
    let deadline = Instant::now() + LAUNCH_WITHIN;
    let first = peer
        .wait_for_message(deadline)
        .map_err(LaunchError::NoLaunch)?;
    let ToShim::Hello(hello) = first else {
        return Err(LaunchError::NotARouter);
    };
    hello.agreed().ok_or(LaunchError::NotARouter)?;
    loop {
        if let ToShim::Launch(launch) = peer
            .wait_for_message(deadline)
            .map_err(LaunchError::NoLaunch)?
        {
            return Ok((hello, *launch));
        }
    }
}

/// Takes the lock, clears what a predecessor left, binds the socket, and starts the child.
///
/// # Errors
/// The slot is held by another shim, or the system refuses one of these steps. Nothing is left behind then.
pub(crate) fn open(
    launch: Launch,
    hello: &Hello,
    signals: ShimSignals,
    router: &Peer,
) -> Result<SlotServer, LaunchError> {
    let (mut lock, former) = take_lock(&launch.lock_path)?;
    if let Some(former) = former {
        clear(&former);
    }
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let mut record = SlotRecord {
        instance: launch.instance.clone(),
        slot: launch.slot,
        run: launch.run,
        router_id: hello.router_id.clone(),
        shim: Identity::of(own).ok_or_else(|| io::Error::other("/proc is not mounted"))?,
        marker: launch.marker.clone(),
        control_path: launch.control_path.clone(),
        transport: launch.transport,
        socket_path: launch.socket_path.clone(),
        cgroup: None,
        child: None,
        spec_digest: launch.spec_digest.clone(),
        started_at_ms: unix_ms_now(),
        exit: None,
    };
    record.cgroup = make_cgroup(&launch);
    match start(&launch, &mut lock, &mut record, router) {
        Ok((listener, child)) => {
            let log = StderrLog::new(launch.log.clone());
            Ok(SlotServer::new(SlotParts {
                launch,
                lock,
                record,
                listener,
                child,
                log,
                signals,
            }))
        }
        Err(error) => {
            if let Some(cgroup) = &record.cgroup {
                cgroup::remove(cgroup);
            }
            lock.remove();
            Err(error)
        }
    }
}

fn start(
    launch: &Launch,
    lock: &mut SlotLock,
    record: &mut SlotRecord,
    router: &Peer,
) -> Result<(Listener, child::Child), LaunchError> {
    let record_error = |source| LaunchError::Record {
        path: launch.lock_path.clone(),
        source,
    };
    // The marker and the cgroup are on file before anything carries them: a sweep can begin from here on.
    lock.write(record).map_err(record_error)?;
    remove_stale_socket(&launch.socket_path)?;
    let listener = Listener::bind(&launch.control_path)?;
    // A router that dies after this check is succeeded by one that finds the record written above. One that has died
    // before it may have been succeeded already, by one that read the records too early to find this one.
    if !router.connected() {
        listener.unlink();
        return Err(LaunchError::RouterGone);
    }
    let child = child::spawn(launch, record.cgroup.as_deref()).map_err(|source| {
        listener.unlink();
        LaunchError::Fork {
            command: launch.command.clone(),
            source,
        }
    })?;
    record.child = Some(child.identity);
    // A full disk must not end an instance that runs: what is lost is one way of several to find it again.
    let _unwritten = lock.write(record);
    Ok((listener, child))
}

fn take_lock(path: &Path) -> Result<(SlotLock, Option<SlotRecord>), LockError> {
    let deadline = Instant::now() + LOCK_WITHIN;
    loop {
        match record::take(path) {
            Err(LockError::Held { .. }) if Instant::now() < deadline => {
                // The holder is exiting, or the lock is not ours to have.
                std::thread::sleep(LOCK_INTERVAL);
            }
            outcome => return outcome,
        }
    }
}

/// Ends and removes what a shim that was killed left behind.
fn clear(former: &SlotRecord) {
    if former.exit.is_none() {
        let recorded: Vec<Identity> = former.child.into_iter().collect();
        let target = SweepTarget {
            shim: None,
            marker: &former.marker,
            cgroup: former.cgroup.as_deref(),
            recorded: &recorded,
        };
        let _survivors = tree::sweep(&target, SWEEP_WITHIN);
    }
    if let Some(cgroup) = &former.cgroup {
        cgroup::remove(cgroup);
    }
    let socket = |path: &&PathBuf| {
        std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
    };
    for path in [&former.control_path, &former.socket_path]
        .into_iter()
        .filter(socket)
    {
        let _gone_already = std::fs::remove_file(path);
    }
}

fn make_cgroup(launch: &Launch) -> Option<PathBuf> {
    let parent = launch.cgroup_parent.as_deref()?;
    // The id's alphabet suits a directory name; the marker keeps runs apart.
    let name = format!(
        "godot-mcp-{}-{}",
        launch.instance,
        &launch.marker[..launch.marker.len().min(12)]
    );
    cgroup::create(parent, &name, launch.memory_bytes_max).ok()
}
