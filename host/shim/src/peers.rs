//! The control connections, and who holds the slot.
//!
//! Descriptors that were passed cannot be taken back, so a holder stays the holder until it releases the slot or
//! its process is seen to be gone. A closed connection proves neither. The same process under the same name may come
//! back on another connection: it knows what it holds.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use godot_mcp_shim::{
    protocol::{FromShim, Hello, ToShim},
    wire::{PassedFds, Readable, Wire, WireError},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt::socket_peercred,
    process::{Pid, PidfdFlags, geteuid, pidfd_open},
};

/// Connections at a time: the holder's, a successor's, and some that were given up at their other end and not closed yet.
const PEERS_MAX: usize = 8;

/// Messages taken from one connection before the others are read.
const MESSAGES_PER_READ: usize = 32;

/// How long a connection may take to send its hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// How long the last message may take to be written before the shim exits.
const LAST_MESSAGE_WITHIN: Duration = Duration::from_secs(5);

/// One control connection.
#[derive(Debug)]
pub(crate) struct Peer {
    socket: OwnedFd,
    wire: Wire,
    pid: Pid,
    hello_by: Option<Instant>,
    /// Set when only the answer is still to be written.
    closing: bool,
}

/// The router that the descriptors were given to.
#[derive(Debug)]
struct Holder {
    router_id: String,
    pid: Pid,
    pidfd: OwnedFd,
}

impl Holder {
    fn alive(&self) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        // Readable means that the process is gone, a zombie included: its descriptors are closed.
        !matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1))
    }
}

/// All connections and the holder.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    /// Keys stay valid while others leave.
    connected: Vec<(u64, Peer)>,
    next_key: u64,
    holder: Option<Holder>,
    /// The holder's connection, while it has one.
    holder_key: Option<u64>,
}

/// The decision on a hello.
#[derive(Debug)]
pub(crate) enum HelloDecision {
    /// The slot is the caller's, under this protocol.
    Granted(u32),
    /// The answer to give instead.
    Denied(FromShim),
}

impl Peer {
    /// Takes over a connection of a process of our own user.
    ///
    /// # Errors
    /// The peer is of another user, or in a pid namespace from which it cannot be watched.
    pub(crate) fn accept(socket: OwnedFd) -> io::Result<Self> {
        let credentials = socket_peercred(&socket)?;
        if credentials.uid != geteuid() {
            return Err(io::Error::other("a control connection of another user"));
        }
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self {
            socket,
            wire: Wire::default(),
            pid: credentials.pid,
            hello_by: Some(Instant::now() + HELLO_WITHIN),
            closing: false,
        })
    }

    /// Waits for one message, for the time before there is a slot to serve.
    ///
    /// # Errors
    /// The peer is gone, breaks the protocol, or is silent past the deadline.
    pub(crate) fn wait_for_message(&mut self, deadline: Instant) -> io::Result<ToShim> {
        loop {
            if let Some((message, _)) = self.wire.take().map_err(io::Error::other)? {
                return Ok(message);
            }
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            let left = deadline.saturating_duration_since(Instant::now());
            let ready = poll(&mut fds, Some(&timespec(left)));
            if ready == Ok(0) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if self
                .wire
                .read_from(self.socket.as_fd())
                .map_err(io::Error::other)?
                == Readable::End
            {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Whether the peer is still there.
    pub(crate) fn connected(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        let _ready = poll(&mut fds, Some(&Timespec::default()));
        !fds[0].revents().contains(PollFlags::HUP)
    }

    /// Sends one message and waits until it is written, or the peer is gone, or a bounded time is over.
    pub(crate) fn send_last(mut self, message: &FromShim) {
        let deadline = Instant::now() + LAST_MESSAGE_WITHIN;
        if self.wire.push(message, Vec::new()).is_err() {
            return;
        }
        while matches!(self.wire.write_to(self.socket.as_fd()), Ok(false)) {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(&self.socket, PollFlags::OUT)];
            if left.is_zero() || poll(&mut fds, Some(&timespec(left))) == Ok(0) {
                return;
            }
        }
    }
}

impl Peers {
    /// Adds a connection. One too many is closed at once.
    pub(crate) fn add(&mut self, peer: Peer) -> Option<u64> {
        if self.connected.len() >= PEERS_MAX {
            return None;
        }
        let key = self.next_key;
        self.next_key += 1;
        self.connected.push((key, peer));
        Some(key)
    }

    /// Accepts a connection from the listener; one of another user is closed at once.
    pub(crate) fn accept(&mut self, socket: OwnedFd) {
        if let Ok(peer) = Peer::accept(socket) {
            self.add(peer);
        }
    }

    /// Each connection with the events to poll it for.
    pub(crate) fn interests(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>, PollFlags)> {
        self.connected.iter().map(|(key, peer)| {
            let writing = if peer.wire.wants_write() {
                PollFlags::OUT
            } else {
                PollFlags::empty()
            };
            (*key, peer.socket.as_fd(), PollFlags::IN | writing)
        })
    }

    /// Reads what a connection has. `false` beside the messages when it has ended or broken the protocol: then the
    /// caller drops it once it has handled them, for the last of them may be a release.
    pub(crate) fn read(&mut self, key: u64) -> (Vec<(ToShim, PassedFds)>, bool) {
        let mut messages = Vec::new();
        let Some(peer) = self.peer(key) else {
            return (messages, false);
        };
        let goes_on = matches!(
            peer.read(&mut messages),
            Ok(Readable::Some | Readable::NothingNow)
        );
        (messages, goes_on)
    }

    /// Queues a message on a connection, and writes as much of it as the socket takes.
    pub(crate) fn send(&mut self, key: u64, message: &FromShim, passed: PassedFds) {
        let Some(peer) = self.peer(key) else { return };
        // What the protocol cannot carry, or a peer that does not read, ends the connection; the slot goes on.
        if peer.wire.push(message, passed).is_err() {
            self.drop_peer(key);
            return;
        }
        self.flush(key);
    }

    /// Queues a message for the holder. `false` when it has no connection.
    pub(crate) fn send_to_holder(&mut self, message: &FromShim, passed: PassedFds) -> bool {
        if let Some(key) = self.holder_key {
            self.send(key, message, passed);
        }
        self.holder_key.is_some()
    }

    /// Answers a connection and closes it once the answer is written.
    pub(crate) fn send_and_close(&mut self, key: u64, message: &FromShim) {
        if let Some(peer) = self.peer(key) {
            peer.closing = true;
        }
        self.send(key, message, Vec::new());
    }

    /// Writes what is queued on a connection.
    pub(crate) fn flush(&mut self, key: u64) {
        let Some(peer) = self.peer(key) else { return };
        let closing = peer.closing;
        match peer.wire.write_to(peer.socket.as_fd()) {
            Ok(true) if closing => self.drop_peer(key),
            Ok(_) => {}
            Err(_) => self.drop_peer(key),
        }
    }

    /// Decides on a hello.
    pub(crate) fn admit(&mut self, key: u64, hello: &Hello) -> HelloDecision {
        let Some(protocol) = hello.agreed() else {
            return HelloDecision::Denied(FromShim::Refused {
                reason: format!(
                    "this shim ({}) speaks protocol {} to {}, the router {} to {}",
                    env!("CARGO_PKG_VERSION"),
                    godot_mcp_shim::protocol::PROTOCOL_OLDEST,
                    godot_mcp_shim::protocol::PROTOCOL,
                    hello.protocol_oldest,
                    hello.protocol,
                ),
            });
        };
        let Some(pid) = self.peer(key).map(|peer| peer.pid) else {
            return HelloDecision::Denied(FromShim::Unsupported);
        };
        if let Some(holder) = &self.holder {
            let itself = holder.pid == pid && holder.router_id == hello.router_id;
            if !itself && holder.alive() {
                return HelloDecision::Denied(FromShim::Busy {
                    router_id: holder.router_id.clone(),
                    pid: holder.pid.as_raw_nonzero().get().unsigned_abs(),
                });
            }
        }
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(errno) => {
                return HelloDecision::Denied(FromShim::Refused {
                    reason: format!(
                        "the router's process {} cannot be watched: {errno}",
                        pid.as_raw_nonzero()
                    ),
                });
            }
        };
        self.holder = Some(Holder {
            router_id: hello.router_id.clone(),
            pid,
            pidfd,
        });
        if let Some(former) = self.holder_key.replace(key).filter(|former| *former != key) {
            self.drop_peer(former);
        }
        if let Some(peer) = self.peer(key) {
            peer.hello_by = None;
        }
        HelloDecision::Granted(protocol)
    }

    /// Whether this connection is the holder's.
    pub(crate) fn is_holder(&self, key: u64) -> bool {
        self.holder_key == Some(key)
    }

    /// Whether the holder has a connection.
    pub(crate) fn holder_connected(&self) -> bool {
        self.holder_key.is_some()
    }

    /// The holder releases the slot.
    pub(crate) fn release(&mut self) {
        self.holder = None;
        if let Some(key) = self.holder_key.take() {
            self.drop_peer(key);
        }
    }

    /// Drops the connections whose hello is overdue.
    pub(crate) fn drop_silent(&mut self, now: Instant) {
        self.connected
            .retain(|(_, peer)| peer.hello_by.is_none_or(|by| now < by));
    }

    fn peer(&mut self, key: u64) -> Option<&mut Peer> {
        self.connected
            .iter_mut()
            .find(|(own, _)| *own == key)
            .map(|(_, peer)| peer)
    }

    /// Closes a connection.
    pub(crate) fn drop_peer(&mut self, key: u64) {
        self.connected.retain(|(own, _)| *own != key);
        if self.holder_key == Some(key) {
            self.holder_key = None;
        }
    }
}

impl Peer {
    fn read(&mut self, messages: &mut Vec<(ToShim, PassedFds)>) -> Result<Readable, WireError> {
        loop {
            let outcome = self.wire.read_from(self.socket.as_fd())?;
            while let Some(message) = self.wire.take()? {
                messages.push(message);
            }
            if outcome != Readable::Some || messages.len() >= MESSAGES_PER_READ {
                return Ok(outcome);
            }
        }
    }
}

/// A duration as `poll` wants it.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
