//! Opening a connection: over a child's pipes, to the socket that an instance listens on, or over any pair of streams.

use std::{
    fs::Permissions,
    future::Future,
    io,
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use router_core::InstanceId;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{UnixStream, unix::pipe},
    time::{Instant, sleep_until},
};

use crate::{
    config::UpstreamConfig,
    connection::{EndOnDrop, drive},
    reply::Closed,
    upstream::{Upstream, UpstreamEvents},
};

/// Only the owner of the instances connects to them.
const SOCKET_MODE: u32 = 0o600;

/// How often a socket that is not there yet is tried again while its instance starts.
const CONNECT_RETRY: Duration = Duration::from_millis(25);

/// What drives a connection: to be polled (spawned) by its opener. It resolves to how the connection ended.
pub type Connection = Pin<Box<dyn Future<Output = Arc<Closed>> + Send>>;

/// Why a connection cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A descriptor is not a pipe's end.
    #[error("the pipes of instance {instance} cannot be used")]
    Pipes {
        /// Whose pipes.
        instance: InstanceId,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// No process listens on the socket.
    #[error("{} did not accept within {} ms", path.display(), waited.as_millis())]
    Socket {
        /// Where.
        path: PathBuf,
        /// How long it was tried.
        waited: Duration,
        /// The last attempt's error.
        #[source]
        error: io::Error,
    },
    /// A process of another user listens on the socket.
    #[error("{} belongs to user {peer}, not to this router's", path.display())]
    OtherUser {
        /// Where.
        path: PathBuf,
        /// The listener's user id.
        peer: u32,
    },
}

impl Upstream {
    /// Opens a connection over any pair of byte streams. Nothing moves until the returned future is polled.
    pub fn open<R, W>(
        config: UpstreamConfig,
        reader: R,
        writer: W,
        events: Arc<dyn UpstreamEvents>,
    ) -> (Arc<Self>, Connection)
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let upstream = Arc::new(Self::new(config, events));
        let connection = drive(EndOnDrop(upstream.clone()), reader, writer);
        (upstream, Box::pin(connection))
    }

    /// Opens a connection over the two pipes of a child: `stdin` is written, `stdout` is read.
    ///
    /// # Errors
    /// One of them is not the right end of a pipe. Must be called within a runtime that does I/O.
    pub fn open_pipes(
        config: UpstreamConfig,
        stdin: OwnedFd,
        stdout: OwnedFd,
        events: Arc<dyn UpstreamEvents>,
    ) -> Result<(Arc<Self>, Connection), OpenError> {
        let fault = |error| OpenError::Pipes {
            instance: config.instance.clone(),
            error,
        };
        let writer = pipe::Sender::from_owned_fd(stdin).map_err(fault)?;
        let reader = pipe::Receiver::from_owned_fd(stdout).map_err(fault)?;
        Ok(Self::open(config, reader, writer, events))
    }

    /// Opens a connection to an instance that listens itself. It may take a moment before it does, so this tries
    /// again until `timeout`.
    ///
    /// # Errors
    /// The socket accepted no connection in time, or the listener runs as another user.
    pub async fn connect(
        config: UpstreamConfig,
        path: &Path,
        timeout: Duration,
        events: Arc<dyn UpstreamEvents>,
    ) -> Result<(Arc<Self>, Connection), OpenError> {
        let deadline = Instant::now() + timeout;
        let stream = loop {
            match UnixStream::connect(path).await {
                Ok(stream) => break stream,
                Err(error) if Instant::now() + CONNECT_RETRY >= deadline => {
                    return Err(OpenError::Socket {
                        path: path.to_owned(),
                        waited: timeout,
                        error,
                    });
                }
                // There is no event to wait for: the listener may appear under a directory that does not exist yet.
                Err(_) => sleep_until(Instant::now() + CONNECT_RETRY).await,
            }
        };
        let peer = stream.peer_cred().map_err(|error| OpenError::Socket {
            path: path.to_owned(),
            waited: timeout,
            error,
        })?;
        if peer.uid() != rustix::process::geteuid().as_raw() {
            return Err(OpenError::OtherUser {
                path: path.to_owned(),
                peer: peer.uid(),
            });
        }
        // The instance made it with whatever its umask left to others.
        if let Err(error) = std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE)) {
            tracing::warn!(instance = %config.instance, path = %path.display(), error = %error, "the instance's socket may be open to other users");
        }
        let (reader, writer) = stream.into_split();
        Ok(Self::open(config, reader, writer, events))
    }
}
