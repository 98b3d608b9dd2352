//! Killing a router at a step of a page's way that is seen from outside, so that the product needs no hooks: its connections and
//! requests, as receivers see them, and what it writes to the journal, as the system tells of it (inotify(7)).

use std::{
    mem::MaybeUninit,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use router_tests::{processes, receivers::Stage};
use rustix::fs::inotify;
use tokio::sync::Notify;

/// Where a router is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// It has just been started.
    Starting,
    /// It wrote a record of the journal, and waits for the disk.
    BeforeFsync,
    /// The record is safe, and it turns to a sink.
    AfterFsync,
    /// A request is on its way.
    Sending,
    /// The sink has all of it, and did not answer.
    Received,
    /// The sink answered.
    Answered,
    /// The receipt is being kept.
    ReceiptKept,
    /// All that is over, and the database is being brought up to date.
    DatabaseUpdated,
    /// Whenever.
    AnyTime,
}

impl Step {
    pub(crate) const ALL: [Self; 9] = [
        Self::Starting,
        Self::BeforeFsync,
        Self::AfterFsync,
        Self::Sending,
        Self::Received,
        Self::Answered,
        Self::ReceiptKept,
        Self::DatabaseUpdated,
        Self::AnyTime,
    ];

    fn is_at(self, sign: Sign, was_answered: bool) -> bool {
        match self {
            Self::BeforeFsync => sign == Sign::Journal,
            Self::AfterFsync => sign == Sign::Stage(Stage::Connected),
            Self::Sending => sign == Sign::Stage(Stage::Begun),
            Self::Received => sign == Sign::Stage(Stage::Whole),
            Self::Answered => sign == Sign::Stage(Stage::Answered),
            Self::ReceiptKept => sign == Sign::Journal && was_answered,
            Self::Starting | Self::DatabaseUpdated | Self::AnyTime => false,
        }
    }
}

/// What is seen of a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Journal,
    Stage(Stage),
}

#[derive(Debug, Default)]
struct Watched {
    /// Who is killed, at which step, and how many such signs are let pass.
    armed: Option<(i32, Step, u32)>,
    was_answered: bool,
    /// The file of the journal that was written last, and whether a sink was turned to since then.
    written: Option<(PathBuf, bool)>,
    kills: Vec<Instant>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Trigger {
    watched: Mutex<Watched>,
    changed: Notify,
}

impl Trigger {
    /// One that watches a journal's directory, which is there.
    pub(crate) fn watching(journal: &Path) -> Arc<Self> {
        let trigger = Arc::new(Self::default());
        let queue = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&queue, journal, inotify::WatchFlags::MODIFY).unwrap();
        let (journal, own) = (journal.to_owned(), Arc::downgrade(&trigger));
        std::thread::spawn(move || {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut events = inotify::Reader::new(queue, &mut buffer);
            // It ends with the directory: the system says that it is gone.
            while let Ok(event) = events.next() {
                let (Some(name), Some(trigger)) = (event.file_name(), own.upgrade()) else {
                    return;
                };
                trigger.written(journal.join(name.to_str().unwrap()));
            }
        });
        trigger
    }

    /// From now on this process is killed at this step, once so many of its signs have passed.
    pub(crate) fn arm(&self, pid: i32, step: Step, passing: u32) {
        let mut watched = self.watched.lock();
        watched.armed = Some((pid, step, passing));
        watched.was_answered = false;
        watched.written = None;
    }

    /// Kills now, unless that was done.
    pub(crate) fn kill(&self) {
        let mut watched = self.watched.lock();
        if let Some((pid, _, _)) = watched.armed.take() {
            processes::kill(pid);
            watched.kills.push(Instant::now());
            self.changed.notify_waiters();
        }
    }

    /// Whether the process was killed, by then.
    pub(crate) async fn has_killed(&self, within: Duration) -> bool {
        self.wait(within, |watched| watched.armed.is_none()).await
    }

    /// Whether a sink answered, by then.
    pub(crate) async fn is_answered(&self, within: Duration) -> bool {
        self.wait(within, |watched| watched.was_answered).await
    }

    async fn wait(&self, within: Duration, is_so: impl Fn(&Watched) -> bool) -> bool {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if is_so(&self.watched.lock()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(within, waiting).await.is_ok()
    }

    /// When processes were killed.
    pub(crate) fn kills(&self) -> Vec<Instant> {
        self.watched.lock().kills.clone()
    }

    /// The file of the journal that was written last, where no sink was turned to since: of what is not on the disk yet a loss of
    /// power leaves a part, or nothing.
    pub(crate) fn unsent_record(&self) -> Option<PathBuf> {
        let written = self.watched.lock().written.clone();
        written.and_then(|(path, was_sent)| (!was_sent).then_some(path))
    }

    pub(crate) fn reached(&self, stage: Stage) {
        if let Some((_, was_sent)) = &mut self.watched.lock().written {
            *was_sent = true;
        }
        self.see(Sign::Stage(stage));
        if stage == Stage::Answered {
            self.watched.lock().was_answered = true;
            self.changed.notify_waiters();
        }
    }

    fn written(&self, path: PathBuf) {
        self.see(Sign::Journal);
        self.watched.lock().written = Some((path, false));
    }

    fn see(&self, sign: Sign) {
        let mut watched = self.watched.lock();
        let was_answered = watched.was_answered;
        let Some((pid, step, passing)) = &mut watched.armed else {
            return;
        };
        if !step.is_at(sign, was_answered) {
            return;
        }
        if *passing > 0 {
            *passing -= 1;
            return;
        }
        processes::kill(*pid);
        watched.armed = None;
        watched.kills.push(Instant::now());
        self.changed.notify_waiters();
    }
}
