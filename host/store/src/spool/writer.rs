//! The thread that owns the spool's files: it writes, returns and removes them, and holds in memory what the disk refuses.

use std::{
    collections::VecDeque,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use router_values::segment::{OpenSegment, SegmentFile};
use tokio::sync::{mpsc, watch};

use super::{
    Order, Progress, SpoolBatch, lose,
    rejects::Rejects,
    segment::{self, FACTS},
};
use crate::{counted::Counted, facts::Fact};

/// Facts written with one fsync: more gain nothing, and each may be 64 KiB.
const COMMIT_MAX: usize = 1_024;
/// A file is closed at this size: what one read brings into memory.
pub(super) const SEGMENT_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes of facts held in memory while the disk refuses: some 50,000 ordinary rows.
pub(super) const MEMORY_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Facts that wait for the database, in one piece.
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

/// See the module.
pub(super) struct SpoolWriter {
    dir: PathBuf,
    bytes_max: u64,
    counted: Arc<Counted>,
    rejects: Rejects,
    progress: watch::Sender<Progress>,
    open: Option<OpenSegment>,
    open_facts: u64,
    open_mine: u64,
    sealed: VecDeque<Sealed>,
    /// Bytes of facts among them that are held in memory.
    in_memory: usize,
    /// Bytes of all files.
    bytes: u64,
    next_number: u64,
    /// The first number that is of this life.
    own_from: u64,
    /// The disk refused last time: said once, not per fact.
    refusing: bool,
    /// Bytes of facts in the queue.
    queued: Arc<AtomicUsize>,
}

impl SpoolWriter {
    /// A writer of a directory, which need not exist or be usable.
    pub(super) fn new(
        dir: PathBuf,
        bytes_max: u64,
        counted: Arc<Counted>,
        progress: watch::Sender<Progress>,
        queued: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            rejects: Rejects::new(&dir, Arc::clone(&counted)),
            dir,
            bytes_max,
            counted,
            progress,
            open: None,
            open_facts: 0,
            open_mine: 0,
            sealed: VecDeque::new(),
            in_memory: 0,
            bytes: 0,
            next_number: 1,
            own_from: 1,
            refusing: false,
            queued,
        }
    }

    /// What earlier lives left.
    pub(super) fn recover(&mut self) {
        let files = FACTS.list(&self.dir).unwrap_or_else(|error| {
            let dir = self.dir.display().to_string();
            tracing::error!(dir, error = %error, "spool directory not readable: facts of earlier lives wait for the next start");
            Vec::new()
        });
        let mut waiting = 0;
        for SegmentFile {
            number,
            path,
            bytes,
        } in files
        {
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
            tracing::info!(waiting, "spool holds facts of an earlier life");
        }
        self.own_from = self.next_number;
        let pending = !self.sealed.is_empty();
        self.publish(|progress| {
            progress.waiting = waiting;
            progress.pending = pending;
            progress.earlier = pending;
        });
    }

    /// Serves orders until it is stopped or no sender is left.
    pub(super) fn run(mut self, mut inbox: mpsc::Receiver<Order>) {
        let mut batch = Vec::new();
        while let Some(first) = inbox.blocking_recv() {
            let mut next = Some(first);
            while let Some(order) = next.take() {
                match order {
                    Order::Keep(fact) => batch.push(self.unqueue(*fact)),
                    other => {
                        self.commit(&mut batch);
                        if let Order::Stop(reply) = other {
                            self.finish(inbox);
                            let _ = reply.send(());
                            return;
                        }
                        self.serve(other);
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
                batch.push(self.unqueue(*fact));
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

    fn unqueue(&self, fact: Fact) -> Fact {
        self.queued.fetch_sub(fact.size(), Ordering::Relaxed);
        fact
    }

    fn serve(&mut self, order: Order) {
        match order {
            Order::Take(reply) => {
                let _ = reply.send(self.take());
            }
            Order::Done(number) => self.done(number),
            Order::Reject(fact, reason) => self.rejects.add(&fact, &reason),
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
            self.publish(|progress| progress.settled += count);
            return;
        }
        match self.append(&lines) {
            Ok(()) => {
                self.refusing = false;
                self.open_facts += count;
                self.open_mine += count;
                self.bytes += lines.len() as u64;
                self.publish(|progress| {
                    progress.spooled += count;
                    progress.waiting += count;
                    progress.pending = true;
                });
                if self
                    .open
                    .as_ref()
                    .is_some_and(|open| open.bytes() >= SEGMENT_BYTES_MAX)
                {
                    self.seal();
                }
            }
            Err(error) => self.hold(facts, &error),
        }
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => OpenSegment::create(&self.dir, FACTS, self.next_number)?,
        };
        self.next_number = open.number().saturating_add(1);
        let appended = open.append(lines);
        if open.bytes() > 0 {
            self.open = Some(open);
        } else {
            open.discard();
        }
        appended
    }

    /// The disk refuses: memory is what is left.
    fn hold(&mut self, mut facts: Vec<Fact>, error: &io::Error) {
        if !self.refusing {
            self.refusing = true;
            let dir = self.dir.display().to_string();
            tracing::error!(dir, error = %error, held_bytes_max = MEMORY_BYTES_MAX, "spool not writable: facts are held in memory");
        }
        self.seal();
        let mut room = MEMORY_BYTES_MAX.saturating_sub(self.in_memory);
        let first_lost = facts.iter().position(|fact| {
            let left = room.checked_sub(fact.size());
            room = left.unwrap_or(0);
            left.is_none()
        });
        let lost = facts.split_off(first_lost.unwrap_or(facts.len()));
        for fact in &lost {
            lose(
                fact,
                "the spool cannot be written and memory is full",
                &self.counted,
            );
        }
        let held = facts.len() as u64;
        self.in_memory += size_of(&facts);
        self.publish(|progress| {
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
            let Ok(mut segment) = OpenSegment::create(&self.dir, FACTS, sealed.number) else {
                return;
            };
            if segment.append(&lines).is_err() {
                return segment.discard();
            }
            self.in_memory -= size_of(facts);
            self.bytes += segment.bytes();
            let persisted = sealed.facts;
            self.progress
                .send_modify(|progress| progress.spooled += persisted);
            sealed.place = Place::File(segment.path().to_owned(), segment.bytes());
        }
    }

    /// Publishes how far it is.
    fn publish(&self, change: impl FnOnce(&mut Progress)) {
        let crowded = self.in_memory > 0 || self.bytes > self.bytes_max / 2;
        self.progress.send_modify(|progress| {
            change(progress);
            progress.crowded = crowded;
        });
    }

    fn seal(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        self.sealed.push_back(Sealed {
            number: open.number(),
            place: Place::File(open.path().to_owned(), open.bytes()),
            facts: std::mem::take(&mut self.open_facts),
            mine: std::mem::take(&mut self.open_mine),
        });
    }

    fn take(&mut self) -> Option<SpoolBatch> {
        if self.sealed.is_empty() {
            self.seal();
        }
        let oldest = self.sealed.front()?;
        let number = oldest.number;
        let facts = match &oldest.place {
            Place::Memory(facts) => facts.clone(),
            Place::File(path, _) => match segment::read(path) {
                Ok(contents) => self.rejects.sort_out(contents),
                Err(error) => {
                    let path = path.display().to_string();
                    tracing::error!(path, error = %error, "spool file not readable: left in place");
                    self.forget_front();
                    return None;
                }
            },
        };
        Some(SpoolBatch { number, facts })
    }

    fn done(&mut self, number: u64) {
        let Some(oldest) = self.sealed.front().filter(|oldest| oldest.number == number) else {
            return;
        };
        if let Place::File(path, _) = &oldest.place
            && let Err(error) = std::fs::remove_file(path)
        {
            let path = path.display().to_string();
            tracing::error!(path, error = %error, "spool file not removed: its facts are in the database already");
        }
        self.forget_front();
    }

    fn forget_front(&mut self) {
        let Some(oldest) = self.sealed.pop_front() else {
            return;
        };
        match oldest.place {
            Place::File(_, bytes) => self.bytes = self.bytes.saturating_sub(bytes),
            Place::Memory(facts) => self.in_memory -= size_of(&facts),
        }
        let pending = !self.sealed.is_empty() || self.open_facts > 0;
        let next = self.sealed.front();
        let earlier = next.is_some_and(|next| next.number < self.own_from);
        self.publish(|progress| {
            progress.waiting = progress.waiting.saturating_sub(oldest.facts);
            progress.pending = pending;
            progress.earlier = earlier;
            progress.settled += oldest.mine;
        });
    }
}

fn size_of(facts: &[Fact]) -> usize {
    facts.iter().map(Fact::size).sum()
}
