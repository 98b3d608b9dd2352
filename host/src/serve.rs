//! Running the router until a signal ends it.
//!
//! Two runtimes: the front's single thread carries connections and the instances' pipes; the other carries the driver,
//! supervisor, store and plugins. So nothing that computes or waits for a disk holds up a request.

mod assembly;
mod banner;
mod router;
mod signals;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use router_config::Config;
use router_supervisor::DataDir;
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::{Builder, Handle},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    error_chain::chain,
    terminal::{EXIT_UNAVAILABLE, eprint, refuse},
    wiring::config,
};
use router::{Router, Start};
use signals::{SignalRequest, Signals};

/// Connections that the system may hold before they are accepted.
const BACKLOG: u32 = 4096;

/// Tasks that are left at the end hold nothing that is worth waiting for any longer.
const RUNTIME_ENDS_WITHIN: Duration = Duration::from_secs(5);

/// Runs until a signal ends it.
pub(crate) fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let config = match config::read(path)? {
        Ok(config) => config,
        Err(faults) => return Ok(refuse(&faults)),
    };
    let clock = Clock::start();
    raise_open_files();
    let rooms = Builder::new_multi_thread()
        .thread_name("rooms")
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let front = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the front's runtime cannot be started")?;
    let handle = front.handle().clone();
    let front_ends = CancellationToken::new();
    let ends = front_ends.clone();
    let thread = std::thread::Builder::new()
        .name("front".to_owned())
        .spawn(move || {
            front.block_on(ends.cancelled());
            // What is left are connections that did not end in time.
            front.shutdown_background();
        })
        .context("the front's thread cannot be started")?;
    let code = rooms.block_on(serve(path.to_owned(), config, clock, handle));
    front_ends.cancel();
    let ended = thread.join().is_ok();
    rooms.shutdown_timeout(RUNTIME_ENDS_WITHIN);
    anyhow::ensure!(ended, "the front's thread panicked");
    code
}

async fn serve(
    path: PathBuf,
    config: Config,
    clock: Clock,
    front: Handle,
) -> anyhow::Result<ExitCode> {
    // Signals first: one that comes while the rooms are opened must not end the process half-way.
    let mut signals = Signals::new()?;
    let data_dir = match claim(&config) {
        Ok(data_dir) => data_dir,
        Err(code) => return Ok(code),
    };
    let listener = listen(config.server.listen, &front)?;
    let router = Router::open(Start {
        path,
        config,
        clock,
        front,
        data_dir,
        listener,
    })
    .await?;
    let announced = router.announce();
    if announced.is_ok() {
        while signals.next().await == SignalRequest::Reload {
            router.reload().await;
        }
    }
    router.close(signals.end()).await;
    announced.map(|()| ExitCode::SUCCESS)
}

/// Every connection and every instance takes descriptors; the usual soft limit of 1024 is for programs that use `select`.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // Where it cannot be raised, the front logs that it ran out.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// The router's name and directory, or the exit code for the reason why not.
fn claim(config: &Config) -> Result<DataDir, ExitCode> {
    DataDir::claim(&config.server.data_dir, config.server.router_id.as_deref()).map_err(|error| {
        eprint(&format!("godot-mcp-router: {}", chain(&error)));
        ExitCode::from(EXIT_UNAVAILABLE)
    })
}

/// Listens in the front's runtime.
fn listen(address: SocketAddr, front: &Handle) -> anyhow::Result<TcpListener> {
    let _in_front = front.enter();
    let bind = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // A restarted router must not wait for the last connections of the one before.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().with_context(|| format!("cannot listen on {address} (server.listen, LISTEN)"))
}
