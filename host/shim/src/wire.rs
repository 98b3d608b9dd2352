//! Lines of JSON and the descriptors beside them, over a non-blocking unix stream socket.
//!
//! It neither waits nor owns the socket: a poll loop and an async runtime can both drive it. Descriptors ride on the
//! first byte of their line, so that a reader of a whole line has its descriptors too. Everything is bounded; a
//! peer that breaks a bound loses the connection.

use std::{
    collections::VecDeque,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::protocol::{FdKind, LINE_BYTES_MAX};

/// Most descriptors beside one line: stdin, stdout, blob, and one to spare for a newer peer.
pub const PASSED_MAX: usize = 4;

/// Most descriptors received and not yet taken, over all lines that wait.
const WAITING_MAX: usize = 8;

/// One read. Lines are short; only a launch message needs more than one.
const READ_BYTES: usize = 16 * 1024;

/// Most bytes queued for a peer that does not read: two of the longest lines.
const QUEUE_BYTES_MAX: usize = 2 * LINE_BYTES_MAX;

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The line is longer than [`LINE_BYTES_MAX`].
    #[error("a control line is longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    /// More descriptors came, or were to be sent, than any message has.
    #[error("more descriptors than any control message has")]
    TooManyDescriptors,
    /// The line announces descriptors that did not come with it.
    #[error("a control line announces descriptors that did not come")]
    DescriptorsMissing,
    /// The peer does not read.
    #[error("the peer does not read its control connection")]
    QueueFull,
    /// The line is not a message.
    #[error("a control line is not a message: {0}")]
    NotAMessage(#[from] serde_json::Error),
    /// The socket failed.
    #[error("the control connection failed: {0}")]
    Socket(#[from] Errno),
}

/// What one read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readable {
    /// Bytes; there may be more.
    Some,
    /// Nothing for now.
    NothingNow,
    /// The peer closed the connection.
    End,
}

/// What a message was accompanied by.
pub type PassedFds = Vec<(FdKind, OwnedFd)>;

/// One end of a control connection.
#[derive(Debug, Default)]
pub struct Wire {
    received: Vec<u8>,
    /// Where the search for a newline goes on, so that a long line is not searched again with every read.
    searched: usize,
    waiting: VecDeque<OwnedFd>,
    queued: VecDeque<Outgoing>,
    queued_bytes: usize,
}

#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

#[derive(Serialize)]
struct LineOut<'a, T> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    passes: &'a [FdKind],
    #[serde(flatten)]
    message: &'a T,
}

#[derive(Deserialize)]
struct LinePasses {
    #[serde(default)]
    passes: Vec<FdKind>,
}

impl Wire {
    /// Reads once from the socket.
    ///
    /// # Errors
    /// The socket failed, or the peer sent more than the bounds allow.
    pub fn read_from(&mut self, socket: BorrowedFd<'_>) -> Result<Readable, WireError> {
        let start = self.received.len();
        self.received.resize(start + READ_BYTES, 0);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let outcome = {
            let mut slices = [IoSliceMut::new(&mut self.received[start..])];
            recvmsg(
                socket,
                &mut slices,
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
            )
        };
        let bytes = match outcome {
            Ok(received) => received.bytes,
            Err(errno) => {
                self.received.truncate(start);
                return match errno {
                    Errno::AGAIN | Errno::INTR => Ok(Readable::NothingNow),
                    Errno::CONNRESET | Errno::PIPE => Ok(Readable::End),
                    other => Err(other.into()),
                };
            }
        };
        self.received.truncate(start + bytes);
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.waiting.extend(fds);
            }
        }
        if self.waiting.len() > WAITING_MAX {
            return Err(WireError::TooManyDescriptors);
        }
        Ok(if bytes == 0 {
            Readable::End
        } else {
            Readable::Some
        })
    }

    /// Takes the next whole message, if one has arrived.
    ///
    /// # Errors
    /// The line is too long, is not a message, or lacks its descriptors. The connection is then of no more use.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<Option<(T, PassedFds)>, WireError> {
        let Some(newline) = self.received[self.searched..]
            .iter()
            .position(|byte| *byte == b'\n')
        else {
            self.searched = self.received.len();
            if self.searched > LINE_BYTES_MAX {
                return Err(WireError::LineTooLong);
            }
            return Ok(None);
        };
        let end = self.searched + newline;
        if end > LINE_BYTES_MAX {
            return Err(WireError::LineTooLong);
        }
        let line = &self.received[..end];
        let passes = serde_json::from_slice::<LinePasses>(line)?.passes;
        let message = serde_json::from_slice(line)?;
        let count = passes.len();
        if count > self.waiting.len() {
            return Err(WireError::DescriptorsMissing);
        }
        let fds = passes
            .into_iter()
            .zip(self.waiting.drain(..count))
            .collect();
        self.received.drain(..=end);
        self.received.shrink_to(READ_BYTES);
        self.searched = 0;
        Ok(Some((message, fds)))
    }

    /// Queues a message and what it passes.
    ///
    /// # Errors
    /// It is too long, passes too much, or the peer has not read what was queued before.
    pub fn push<T: Serialize>(&mut self, message: &T, passed: PassedFds) -> Result<(), WireError> {
        if passed.len() > PASSED_MAX {
            return Err(WireError::TooManyDescriptors);
        }
        let (passes, fds): (Vec<FdKind>, Vec<OwnedFd>) = passed.into_iter().unzip();
        let mut bytes = serde_json::to_vec(&LineOut {
            passes: &passes,
            message,
        })?;
        if bytes.len() > LINE_BYTES_MAX {
            return Err(WireError::LineTooLong);
        }
        bytes.push(b'\n');
        if self.queued_bytes + bytes.len() > QUEUE_BYTES_MAX {
            return Err(WireError::QueueFull);
        }
        self.queued_bytes += bytes.len();
        self.queued.push_back(Outgoing {
            bytes,
            sent: 0,
            fds,
        });
        Ok(())
    }

    /// Writes what is queued, as far as the socket takes it. `true` when nothing is left.
    ///
    /// # Errors
    /// The socket failed.
    pub fn write_to(&mut self, socket: BorrowedFd<'_>) -> Result<bool, WireError> {
        while let Some(first) = self.queued.front_mut() {
            let sent = match first.send(socket) {
                Ok(sent) => sent,
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => continue,
                Err(other) => return Err(other.into()),
            };
            self.queued_bytes -= sent;
            if first.sent == first.bytes.len() {
                self.queued.pop_front();
            }
        }
        Ok(true)
    }

    /// Whether something is queued.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        !self.queued.is_empty()
    }
}

impl Outgoing {
    fn send(&mut self, socket: BorrowedFd<'_>) -> Result<usize, Errno> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let slices = [IoSlice::new(&self.bytes[self.sent..])];
        let borrowed: Vec<BorrowedFd<'_>> = self.fds.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !borrowed.is_empty() {
            let fits = ancillary.push(SendAncillaryMessage::ScmRights(&borrowed));
            debug_assert!(
                fits,
                "the space is that of PASSED_MAX descriptors, which push() checked"
            );
        }
        let sent = sendmsg(socket, &slices, &mut ancillary, flags)?;
        self.fds.clear();
        self.sent += sent;
        Ok(sent)
    }
}

#[cfg(test)]
mod tests;
