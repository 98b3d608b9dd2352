//! The spool: facts on their way to the database, safe on disk from milliseconds after they happened.
//!
//! One thread owns the files, so that neither a slow disk nor a slow database ever makes a caller wait. Every fact takes
//! the same way, whether the database is there or not: queue, file, database. What is in the database is removed from
//! the spool; what a kill in between leaves twice, the database recognises by its id.
//!
//! When a disk refuses, facts are held in memory for the database to take; when that is full too they are lost, and each
//! stands in the log at ERROR.

mod rejects;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{counted::Counted, facts::Fact};
use writer::SpoolWriter;

/// Facts on their way to the disk: a burst of an operator's script, or a storm of crashes, with a disk that takes a second
/// over an fsync.
const QUEUE_MAX: usize = 65_536;
/// Bytes of them, should they be large ones.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why a fact is lost when either is reached.
const FULL: &str = "the queue to the spool is full";

/// A handle on the spool. The thread ends with the last handle, or at [`Spool::stop`].
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    orders: mpsc::Sender<Order>,
    counted: Arc<Counted>,
    /// Facts of this life that were accepted.
    accepted: Arc<AtomicU64>,
    /// Bytes of facts in the queue.
    queued: Arc<AtomicUsize>,
    progress: watch::Receiver<Progress>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// How far the spool is. Published whole: a fact is never seen as spooled and not yet as waiting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Facts that were written to the disk in this life.
    pub(crate) spooled: u64,
    /// Facts in the spool.
    pub(crate) waiting: u64,
    /// There is something to take (a file of an earlier life may hold no whole fact).
    pub(crate) pending: bool,
    /// Facts of earlier lives are among them.
    pub(crate) earlier: bool,
    /// Half of its room is taken: what is left is for facts that must not be lost.
    pub(crate) crowded: bool,
    /// Facts of this life that have left it: into the database, the rejects, or the log.
    pub(crate) settled: u64,
}

/// Facts on their way into the database.
#[derive(Debug)]
pub(crate) struct SpoolBatch {
    pub(crate) number: u64,
    pub(crate) facts: Vec<Fact>,
}

#[derive(Debug)]
enum Order {
    Keep(Box<Fact>),
    Take(oneshot::Sender<Option<SpoolBatch>>),
    Done(u64),
    Reject(Box<Fact>, String),
    Stop(oneshot::Sender<()>),
}

impl Spool {
    /// Starts the spool in a directory, with what earlier lives left there. The directory may be unusable: facts are then
    /// held in memory.
    pub(crate) fn start(dir: PathBuf, bytes_max: u64, counted: Arc<Counted>) -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel(QUEUE_MAX);
        let (progress, seen) = watch::channel(Progress::default());
        let queued = Arc::new(AtomicUsize::new(0));
        let taken = Arc::clone(&queued);
        let mut writer = SpoolWriter::new(dir, bytes_max, Arc::clone(&counted), progress, taken);
        writer.recover();
        let thread = std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || writer.run(inbox))?;
        Ok(Self {
            orders,
            counted,
            accepted: Arc::default(),
            queued,
            progress: seen,
            thread: Arc::new(Mutex::new(Some(thread))),
        })
    }

    /// Takes a fact. Never blocks.
    pub(crate) fn keep(&self, fact: Fact) {
        let size = fact.size();
        if self.queued.fetch_add(size, Ordering::Relaxed) + size > QUEUE_BYTES_MAX {
            self.queued.fetch_sub(size, Ordering::Relaxed);
            return lose(&fact, FULL, &self.counted);
        }
        match self.orders.try_send(Order::Keep(Box::new(fact))) {
            Ok(()) => {
                self.accepted.fetch_add(1, Ordering::Relaxed);
            }
            Err(refused) => {
                self.queued.fetch_sub(size, Ordering::Relaxed);
                let reason = match &refused {
                    mpsc::error::TrySendError::Full(_) => FULL,
                    mpsc::error::TrySendError::Closed(_) => "the store is closed",
                };
                if let Order::Keep(fact) = refused.into_inner() {
                    lose(&fact, reason, &self.counted);
                }
            }
        }
    }

    /// Takes a fact where there is plenty of room. False where it was left out. Never blocks.
    pub(crate) fn keep_with_room(&self, fact: Fact) -> bool {
        let queued = self.queued.load(Ordering::Relaxed) > QUEUE_BYTES_MAX / 2;
        let queue_left = self.orders.capacity() < QUEUE_MAX / 2;
        let is_crowded = queued || queue_left || self.progress.borrow().crowded;
        if !is_crowded {
            self.keep(fact);
        }
        !is_crowded
    }

    /// Facts of this life that were accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How far it is, now and as it goes on.
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// The oldest facts; the same again until they are done. `None` when there are none, or the spool was stopped.
    pub(crate) async fn take(&self) -> Option<SpoolBatch> {
        let (reply, batch) = oneshot::channel();
        self.orders.send(Order::Take(reply)).await.ok()?;
        batch.await.ok().flatten()
    }

    /// The facts of a batch are in the database.
    pub(crate) async fn done(&self, number: u64) {
        // Stopped in between: the next life takes them again, and the database knows their ids.
        let _ = self.orders.send(Order::Done(number)).await;
    }

    /// The database will never take a fact: it is put aside for people.
    pub(crate) async fn reject(&self, fact: Fact, reason: String) {
        let _ = self
            .orders
            .send(Order::Reject(Box::new(fact), reason))
            .await;
    }

    /// Everything accepted so far is on disk, and the thread has ended.
    pub(crate) async fn stop(&self) {
        let (reply, stopped) = oneshot::channel();
        if self.orders.send(Order::Stop(reply)).await.is_ok() {
            let _ = stopped.await;
        }
        let thread = self.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("spool thread panicked");
        }
    }
}

/// The last resort: the log.
fn lose(fact: &Fact, reason: &str, counted: &Counted) {
    let mut line = Vec::new();
    fact.write_line(&mut line);
    let fact = String::from_utf8_lossy(&line);
    tracing::error!(
        fact = fact.trim_end(),
        reason,
        "fact lost: only this line keeps it"
    );
    Counted::add(&counted.lost, 1);
}
