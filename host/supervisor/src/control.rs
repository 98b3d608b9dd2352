//! One control connection on the runtime: whole messages in, whole messages out, each send bounded in time.

use std::{
    io::{self, ErrorKind},
    os::fd::AsFd as _,
    path::Path,
    time::Duration,
};

use godot_mcp_shim::{
    protocol::{FromShim, ToShim},
    wire::{PassedFds, Readable, Wire},
};
use tokio::{io::Interest, net::UnixStream};

/// A shim reads its connection within one pass of its loop. One that does not for this long is frozen.
const SEND_WITHIN: Duration = Duration::from_secs(5);

/// The router's end of a control connection.
#[derive(Debug)]
pub(crate) struct Control {
    stream: UnixStream,
    wire: Wire,
}

impl Control {
    /// Takes over a connected socket.
    pub(crate) fn new(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::over(UnixStream::from_std(stream)?))
    }

    /// Connects to a shim's socket. Only a full backlog could make this wait, and that is answered with an error.
    pub(crate) async fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self::over(UnixStream::connect(path).await?))
    }

    fn over(stream: UnixStream) -> Self {
        Self {
            stream,
            wire: Wire::default(),
        }
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, message: &ToShim, passed: PassedFds) -> io::Result<()> {
        self.wire.push(message, passed).map_err(io::Error::other)?;
        let flush = async {
            while self.wire.wants_write() {
                self.stream.writable().await?;
                let (stream, wire) = (&self.stream, &mut self.wire);
                let written =
                    stream.try_io(Interest::WRITABLE, || match wire.write_to(stream.as_fd()) {
                        Ok(true) => Ok(()),
                        Ok(false) => Err(ErrorKind::WouldBlock.into()),
                        Err(error) => Err(io::Error::other(error)),
                    });
                unless_it_would_block(written)?;
            }
            Ok(())
        };
        match tokio::time::timeout(SEND_WITHIN, flush).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ErrorKind::TimedOut.into()),
        }
    }

    /// The next message, or `None` at the end of the connection. May be cancelled without loss.
    pub(crate) async fn receive(&mut self) -> io::Result<Option<(FromShim, PassedFds)>> {
        loop {
            if let Some(message) = self.wire.take().map_err(io::Error::other)? {
                return Ok(Some(message));
            }
            self.stream.readable().await?;
            let (stream, wire) = (&self.stream, &mut self.wire);
            let read = stream.try_io(Interest::READABLE, || {
                match wire.read_from(stream.as_fd()) {
                    Ok(Readable::NothingNow) => Err(ErrorKind::WouldBlock.into()),
                    Ok(outcome) => Ok(outcome),
                    Err(error) => Err(io::Error::other(error)),
                }
            });
            if unless_it_would_block(read)? == Some(Readable::End) {
                return Ok(None);
            }
        }
    }

    /// The next message if it comes in time.
    pub(crate) async fn receive_within(
        &mut self,
        limit: Duration,
    ) -> io::Result<Option<(FromShim, PassedFds)>> {
        match tokio::time::timeout(limit, self.receive()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ErrorKind::TimedOut.into()),
        }
    }
}

fn unless_it_would_block<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
