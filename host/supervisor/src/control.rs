//! One control connection on the runtime: whole messages in, whole messages out, each send bounded in time.

use std::{
    io,
    os::{
        fd::{AsFd as _, AsRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::Duration,
};

use godot_mcp_shim::{
    protocol::{FromShim, ToShim},
    wire::{PassedFds, Readable, Wire},
};
use tokio::io::unix::AsyncFd;

/// A shim reads its connection within one turn of its loop. One that does not for this long is frozen.
const SEND_WITHIN: Duration = Duration::from_secs(5);

/// The router's end of a control connection.
#[derive(Debug)]
pub(crate) struct Control {
    socket: AsyncFd<Socket>,
    wire: Wire,
}

#[derive(Debug)]
struct Socket(OwnedFd);

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Control {
    /// Takes over a connected socket.
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            socket: AsyncFd::new(Socket(stream.into()))?,
            wire: Wire::default(),
        })
    }

    /// Connects to a shim's socket. Only a full backlog could make this wait, and that is answered with an error.
    pub(crate) async fn connect(path: &Path) -> io::Result<Self> {
        let stream = tokio::net::UnixStream::connect(path).await?.into_std()?;
        Self::new(stream)
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, message: &ToShim, passed: PassedFds) -> io::Result<()> {
        self.wire.push(message, passed).map_err(io::Error::other)?;
        let flush = async {
            loop {
                if self.wire.write_to(self.socket.get_ref().0.as_fd()).map_err(io::Error::other)? {
                    return Ok(());
                }
                let mut guard = self.socket.writable().await?;
                guard.clear_ready();
                // Between the failed write and the clearing it may have become writable: try before waiting again.
                if self.wire.write_to(self.socket.get_ref().0.as_fd()).map_err(io::Error::other)? {
                    return Ok(());
                }
            }
        };
        match tokio::time::timeout(SEND_WITHIN, flush).await {
            Ok(outcome) => outcome,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// The next message, or `None` at the end of the connection. May be cancelled without loss.
    pub(crate) async fn receive(&mut self) -> io::Result<Option<(FromShim, PassedFds)>> {
        loop {
            if let Some(message) = self.wire.next().map_err(io::Error::other)? {
                return Ok(Some(message));
            }
            let mut guard = self.socket.readable().await?;
            let outcome = self.wire.read_from(self.socket.get_ref().0.as_fd()).map_err(io::Error::other)?;
            match outcome {
                Readable::Some => {}
                Readable::NothingNow => guard.clear_ready(),
                Readable::End => return Ok(None),
            }
        }
    }

    /// The next message if it comes in time.
    pub(crate) async fn receive_within(&mut self, limit: Duration) -> io::Result<Option<(FromShim, PassedFds)>> {
        match tokio::time::timeout(limit, self.receive()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}
