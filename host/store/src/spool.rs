//! The spool: facts on their way to the database, safe on disk from milliseconds after they happened.
//!
//! One thread owns the files, so that neither a slow disk nor a slow database ever makes a caller wait. Every fact takes
//! the same way, whether the database is there or not: queue, file, database. What is in the database is removed from
//! the spool; what a kill in between leaves twice, the database recognises by its id.
//!
//! When a disk refuses, facts are held in memory for the database to take; when that is full too they are lost, and each
//! stands in the log at ERROR.

mod segment;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{counted::Counted, facts::Fact};
use segment::OpenSegment;

/// Facts on their way to the disk. A burst of an operator's script, or a storm of crashes, with a disk that takes a second
/// over an fsync: some 30 MB at worst.
const QUEUE_MAX: usize = 65_536;
/// Facts written with one fsync: more gain nothing, and each may be 64 KiB.
const COMMIT_MAX: usize = 1_024;
/// A file is closed at this size: what one read brings into memory.
const SEGMENT_BYTES_MAX: u64 = 1024 * 1024;
/// Facts held in memory while the disk refuses.
const MEMORY_MAX: usize = 10_000;

/// A handle on the spool. The thread ends with the last handle, or at [`Spool::stop`].
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    orders: mpsc::Sender<Order>,
    counted: Arc<Counted>,
    /// Facts of this life that were accepted.
    accepted: Arc<AtomicU64>,
    progress: watch::Receiver<Progress>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// How far the spool is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Facts in the spool.
    pub(crate) waiting: u64,
    /// There is something to take (a file of an earlier life may hold no whole fact).
    pub(crate) pending: bool,
    /// Facts of this life that have left it: into the database, the rejects, or the log.
    pub(crate) settled: u64,
}

/// Facts handed out to be kept.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) number: u64,
    pub(crate) facts: Vec<Fact>,
}

#[derive(Debug)]
enum Order {
    Keep(Fact),
    Take(oneshot::Sender<Option<Batch>>),
    Done(u64),
    Reject(Box<(Fact, String)>),
    Stop(oneshot::Sender<()>),
}

impl Spool {
    /// Starts the spool in a directory, with what earlier lives left there. The directory may be unusable: facts are then
    /// held in memory.
    pub(crate) fn start(dir: PathBuf, bytes_max: u64, counted: Arc<Counted>) -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel(QUEUE_MAX);
        let (progress, seen) = watch::channel(Progress::default());
        let mut clerk = Clerk {
            dir,
            bytes_max,
            counted: Arc::clone(&counted),
            progress,
            open: None,
            open_facts: 0,
            open_mine: 0,
            sealed: VecDeque::new(),
            in_memory: 0,
            bytes: 0,
            next_number: 1,
            refusing: false,
        };
        clerk.recover();
        let thread = std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || clerk.run(inbox))?;
        Ok(Self {
            orders,
            counted,
            accepted: Arc::default(),
            progress: seen,
            thread: Arc::new(Mutex::new(Some(thread))),
        })
    }

    /// Takes a fact. Never blocks.
    pub(crate) fn keep(&self, fact: Fact) {
        match self.orders.try_send(Order::Keep(fact)) {
            Ok(()) => {
                self.accepted.fetch_add(1, Ordering::Relaxed);
            }
            Err(refused) => {
                let reason = match &refused {
                    mpsc::error::TrySendError::Full(_) => "the queue to the spool is full",
                    mpsc::error::TrySendError::Closed(_) => "the store is closed",
                };
                if let Order::Keep(fact) = refused.into_inner() {
                    lose(&fact, reason, &self.counted);
                }
            }
        }
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
    pub(crate) async fn take(&self) -> Option<Batch> {
        let (reply, batch) = oneshot::channel();
        self.orders.send(Order::Take(reply)).await.ok()?;
        batch.await.ok().flatten()
    }

    /// The facts of a batch are in the database.
    pub(crate) async fn done(&self, number: u64) {
        // Stopped in between: the next life hands them out again, and the database knows their ids.
        let _ = self.orders.send(Order::Done(number)).await;
    }

    /// The database will never take a fact: it is put aside for people.
    pub(crate) async fn reject(&self, fact: Fact, reason: String) {
        let _ = self
            .orders
            .send(Order::Reject(Box::new((fact, reason))))
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
            tracing::error!("the spool's thread panicked");
        }
    }
}

/// Facts that are complete and wait for their turn.
#[derive(Debug)]
struct Sealed {
    number: u64,
    place: Place,
    facts: u64,
    /// How many of them are of this life.
    mine: u64,
}

#[derive(Debug)]
enum Place {
    File(PathBuf, u64),
    Memory(Vec<Fact>),
}

/// The thread that owns the files.
struct Clerk {
    dir: PathBuf,
    bytes_max: u64,
    counted: Arc<Counted>,
    progress: watch::Sender<Progress>,
    open: Option<OpenSegment>,
    open_facts: u64,
    open_mine: u64,
    sealed: VecDeque<Sealed>,
    /// Facts among them that are held in memory.
    in_memory: usize,
    /// Bytes of all files.
    bytes: u64,
    next_number: u64,
    /// The disk refused last time: said once, not per fact.
    refusing: bool,
}

impl Clerk {
    /// What earlier lives left.
    fn recover(&mut self) {
        let files = segment::list(&self.dir).unwrap_or_else(|error| {
            let dir = self.dir.display().to_string();
            tracing::error!(dir, error = %error, "the spool's directory cannot be read");
            Vec::new()
        });
        let mut waiting = 0;
        for (number, path, bytes) in files {
            self.next_number = self.next_number.max(number.saturating_add(1));
            // Counted now, so that what waits is known before the database is there.
            let facts = segment::count(&path).unwrap_or(0);
            waiting += facts;
            self.bytes += bytes;
            let place = Place::File(path, bytes);
            self.sealed.push_back(Sealed {
                number,
                place,
                facts,
                mine: 0,
            });
        }
        if waiting > 0 {
            tracing::info!(waiting, "facts of an earlier life wait in the spool");
        }
        let pending = !self.sealed.is_empty();
        self.progress.send_modify(|progress| {
            progress.waiting = waiting;
            progress.pending = pending;
        });
    }

    fn run(mut self, mut inbox: mpsc::Receiver<Order>) {
        let mut batch = Vec::new();
        while let Some(first) = inbox.blocking_recv() {
            let mut next = Some(first);
            while let Some(order) = next.take() {
                match order {
                    Order::Keep(fact) => batch.push(fact),
                    other => {
                        self.commit(&mut batch);
                        if let Order::Stop(reply) = other {
                            self.finish(inbox);
                            let _ = reply.send(());
                            return;
                        }
                        self.obey(other);
                    }
                }
                if batch.len() < COMMIT_MAX {
                    next = inbox.try_recv().ok();
                }
            }
            self.commit(&mut batch);
        }
        self.finish(inbox);
    }

    /// Nothing more is accepted; what was accepted is made safe.
    fn finish(mut self, mut inbox: mpsc::Receiver<Order>) {
        inbox.close();
        let mut batch = Vec::new();
        while let Ok(order) = inbox.try_recv() {
            if let Order::Keep(fact) = order {
                batch.push(fact);
            }
        }
        self.commit(&mut batch);
        self.persist_memory();
        for held in self.sealed.drain(..) {
            if let Place::Memory(facts) = held.place {
                for fact in &facts {
                    lose(
                        fact,
                        "the spool cannot be written and the store ends",
                        &self.counted,
                    );
                }
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Take(reply) => {
                let _ = reply.send(self.take());
            }
            Order::Done(number) => self.done(number),
            Order::Reject(rejected) => self.reject(&rejected.0, &rejected.1),
            Order::Keep(_) | Order::Stop(_) => {}
        }
    }

    /// Makes facts safe.
    fn commit(&mut self, batch: &mut Vec<Fact>) {
        if batch.is_empty() {
            return;
        }
        let facts = std::mem::take(batch);
        let count = facts.len() as u64;
        if self.in_memory > 0 {
            self.persist_memory();
        }
        let mut lines = Vec::with_capacity(facts.len() * 512);
        for fact in &facts {
            fact.write_line(&mut lines);
        }
        if self.bytes + lines.len() as u64 > self.bytes_max {
            for fact in &facts {
                lose(fact, "the spool is as large as it may be", &self.counted);
            }
            self.progress
                .send_modify(|progress| progress.settled += count);
            return;
        }
        match self.append(&lines) {
            Ok(()) => {
                self.refusing = false;
                self.open_facts += count;
                self.open_mine += count;
                self.bytes += lines.len() as u64;
                Counted::add(&self.counted.spooled, count);
                self.progress.send_modify(|progress| {
                    progress.waiting += count;
                    progress.pending = true;
                });
                if self
                    .open
                    .as_ref()
                    .is_some_and(|open| open.bytes >= SEGMENT_BYTES_MAX)
                {
                    self.seal();
                }
            }
            Err(error) => self.hold(facts, &error),
        }
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.open.is_none() {
            let open = OpenSegment::create(&self.dir, self.next_number)?;
            self.next_number += 1;
            self.open = Some(open);
        }
        match &mut self.open {
            Some(open) => open.append(lines),
            None => Ok(()),
        }
    }

    /// The disk refuses: memory is what is left.
    fn hold(&mut self, mut facts: Vec<Fact>, error: &io::Error) {
        if !self.refusing {
            self.refusing = true;
            let dir = self.dir.display().to_string();
            tracing::error!(dir, error = %error, held_max = MEMORY_MAX, "the spool cannot be written: facts are held in memory");
        }
        self.seal();
        let room = MEMORY_MAX.saturating_sub(self.in_memory);
        let lost = facts.split_off(room.min(facts.len()));
        for fact in &lost {
            lose(
                fact,
                "the spool cannot be written and memory is full",
                &self.counted,
            );
        }
        let held = facts.len() as u64;
        self.in_memory += facts.len();
        self.progress.send_modify(|progress| {
            progress.waiting += held;
            progress.pending |= held > 0;
            progress.settled += lost.len() as u64;
        });
        if !facts.is_empty() {
            let number = self.next_number;
            self.next_number += 1;
            self.sealed.push_back(Sealed {
                number,
                place: Place::Memory(facts),
                facts: held,
                mine: held,
            });
        }
    }

    /// What is held in memory goes to the disk as soon as that takes it again.
    fn persist_memory(&mut self) {
        for sealed in &mut self.sealed {
            let Place::Memory(facts) = &sealed.place else {
                continue;
            };
            let mut lines = Vec::new();
            for fact in facts {
                fact.write_line(&mut lines);
            }
            let written = OpenSegment::create(&self.dir, sealed.number)
                .and_then(|mut segment| segment.append(&lines).map(|()| segment));
            let Ok(segment) = written else {
                return;
            };
            self.in_memory -= facts.len();
            self.bytes += segment.bytes;
            Counted::add(&self.counted.spooled, sealed.facts);
            sealed.place = Place::File(segment.path, segment.bytes);
        }
    }

    fn seal(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        self.sealed.push_back(Sealed {
            number: open.number,
            place: Place::File(open.path, open.bytes),
            facts: std::mem::take(&mut self.open_facts),
            mine: std::mem::take(&mut self.open_mine),
        });
    }

    fn take(&mut self) -> Option<Batch> {
        if self.sealed.is_empty() {
            self.seal();
        }
        let oldest = self.sealed.front()?;
        let number = oldest.number;
        let facts = match &oldest.place {
            Place::Memory(facts) => facts.clone(),
            Place::File(path, _) => match segment::read(path) {
                Ok(contents) => self.sort_out(contents),
                Err(error) => {
                    let path = path.display().to_string();
                    tracing::error!(path, error = %error, "a file of the spool cannot be read; it is left where it is");
                    self.forget_front();
                    return None;
                }
            },
        };
        Some(Batch { number, facts })
    }

    fn sort_out(&self, contents: segment::Contents) -> Vec<Fact> {
        if contents.torn {
            Counted::add(&self.counted.torn, 1);
            tracing::warn!(
                "a half-written line of the spool was skipped: its writer was killed before it was acknowledged"
            );
        }
        for line in contents.foreign {
            let line = String::from_utf8_lossy(&line).into_owned();
            Counted::add(&self.counted.rejected, 1);
            tracing::error!(line, "a line of the spool is no fact and was put aside");
            self.put_aside(&line);
        }
        contents.facts
    }

    fn done(&mut self, number: u64) {
        let Some(oldest) = self.sealed.front().filter(|oldest| oldest.number == number) else {
            return;
        };
        if let Place::File(path, _) = &oldest.place
            && let Err(error) = std::fs::remove_file(path)
        {
            let path = path.display().to_string();
            tracing::error!(path, error = %error, "a file of the spool cannot be removed; its facts are in the database already");
        }
        self.forget_front();
    }

    fn forget_front(&mut self) {
        let Some(oldest) = self.sealed.pop_front() else {
            return;
        };
        match oldest.place {
            Place::File(_, bytes) => self.bytes = self.bytes.saturating_sub(bytes),
            Place::Memory(facts) => self.in_memory -= facts.len(),
        }
        let pending = !self.sealed.is_empty() || self.open_facts > 0;
        self.progress.send_modify(|progress| {
            progress.waiting = progress.waiting.saturating_sub(oldest.facts);
            progress.pending = pending;
            progress.settled += oldest.mine;
        });
    }

    fn reject(&self, fact: &Fact, reason: &str) {
        Counted::add(&self.counted.rejected, 1);
        let mut line = Vec::new();
        fact.write_line(&mut line);
        let line = String::from_utf8_lossy(&line).into_owned();
        tracing::error!(
            fact = line.trim_end(),
            reason,
            "the database refused a fact; it was put aside"
        );
        self.put_aside(&line);
    }

    fn put_aside(&self, line: &str) {
        let written = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.dir.join("rejected.jsonl"))
            .and_then(|mut file| {
                file.write_all(line.as_bytes())?;
                file.sync_data()
            });
        if let Err(error) = written {
            tracing::error!(error = %error, "rejected.jsonl cannot be written; the log holds the line");
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
        "a fact was lost: only this line keeps it"
    );
    Counted::add(&counted.lost, 1);
}
