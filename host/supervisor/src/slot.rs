//! One slot in use: its shim is started or adopted, listened to, told what the driver wishes, and missed when lost.

mod adopting;
mod starting;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use godot_mcp_shim::{
    protocol::{ExitReport, FromShim, Hello, Passed, ToShim},
    record::{self, LockState, SlotLock, SlotRecord},
    wire::PassedFds,
};
use router_core::{Run, SlotKey};
use tokio::{sync::oneshot, time::Instant};

use self::adopting::{ADOPTED_WITHIN, Hold};
use crate::{
    SlotExit, SupervisorEvent,
    adoption::{Found, blocking, outlast, settle_dead, sweep_after, tell, tell_never_lived},
    blob,
    control::Control,
    launch::milliseconds,
    shim_process::ShimProcess,
    slots::{Live, Release, SlotCell, Slots},
    supervisor::Surroundings,
};

/// Between two tries.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How long after the end of its connection a shim is still taken to be dying rather than disconnected.
const DYING_WITHIN: Duration = Duration::from_millis(500);

/// How long after a shim's death its lock may still be held, by a child that it was just forking.
const LOCK_FREE_WITHIN: Duration = Duration::from_secs(1);

/// What a slot's task begins with.
#[derive(Debug)]
pub(crate) enum First {
    /// A launch stands among the wishes.
    Launch,
    /// A shim was found; the sender hears whether it was adopted.
    Adopt(Box<Found>, oneshot::Sender<bool>),
}

/// The task of one slot.
#[derive(Debug)]
pub(crate) struct Attendant {
    around: Arc<Surroundings>,
    slots: Arc<Slots>,
    cell: Arc<SlotCell>,
}

/// A shim that this router holds.
#[derive(Debug)]
struct Held {
    run: Run,
    control: Control,
    shim: ShimProcess,
    control_path: PathBuf,
    lock_path: PathBuf,
    /// What the lock file said when it was last read.
    record: Option<SlotRecord>,
}

/// How the time with a shim ended.
#[derive(Debug)]
enum Ending {
    Exited(ExitReport),
    Lost,
    Released,
}

impl Attendant {
    pub(crate) fn new(around: Arc<Surroundings>, slots: Arc<Slots>, cell: Arc<SlotCell>) -> Self {
        Self {
            around,
            slots,
            cell,
        }
    }

    /// Attends to the slot until nothing is wished of it.
    pub(crate) async fn attend(self, first: First) {
        let mut released = match first {
            First::Launch => false,
            First::Adopt(found, done) => self.adopt(*found, done).await,
        };
        while !released {
            let (launch, kill) = {
                let mut wishes = self.cell.wishes.lock();
                let launch = wishes.launch.take();
                // A kill of the run about to be launched is heeded by not launching it, and answered in the next turn.
                let kill = wishes
                    .kill
                    .take_if(|run| launch.as_ref().is_none_or(|(launched, _)| launched != run));
                (launch, kill)
            };
            if let Some(run) = kill {
                tell_never_lived(&self.around, self.key().clone(), run).await;
            }
            released = match launch {
                Some((run, spec)) => self.launch(run, spec).await,
                None if self.slots.retire(&self.cell) => return,
                None => false,
            };
        }
        self.slots.forget(&self.cell);
    }

    /// Stays with a held shim until its run has ended. `true` when it was released.
    async fn hold(&self, mut held: Held) -> bool {
        *self.cell.live.lock() = Some(Live {
            run: held.run,
            shim: held.shim.identity,
            sampled: Vec::new(),
            rss_bytes: None,
            dying: false,
        });
        let ending = self.listen(&mut held).await;
        let live = self.cell.live.lock().take();
        match ending {
            Ending::Released => true,
            Ending::Exited(report) => {
                // Without a receipt the report stays in the lock file, and would be told twice.
                let _gone = held.control.send(&ToShim::ExitSeen, Vec::new()).await;
                held.shim.see_off().await;
                self.tidy_after(&held).await;
                let exit = SlotExit::new(report, live.and_then(|live| live.rss_bytes));
                tokio::select! {
                    () = outlast(self.key(), &exit.survivors) => {}
                    () = self.released() => return true,
                }
                tracing::info!(
                    instance = %self.key().instance, slot = self.key().slot, run = held.run.0, state = "exited",
                    reason = ?exit.exit, "instance process exited (version_id: {})", self.key().instance
                );
                let (key, run) = (self.key().clone(), held.run);
                self.tell(SupervisorEvent::Exited { key, run, exit }).await;
                false
            }
            Ending::Lost => {
                self.settle_lost(held, live).await;
                false
            }
        }
    }

    /// Waits until the router lets go of the slot. Other wishes wait until the slot is free.
    async fn released(&self) {
        while self.cell.wishes.lock().release.is_none() {
            self.cell.wake.notified().await;
        }
    }

    /// A shim that was killed between its report and its receipt has left its lock file behind.
    async fn tidy_after(&self, held: &Held) {
        let lock = self.lock_of_the_dead(&held.lock_path).await;
        if let Some((lock, record)) = lock
            && record.is_none_or(|record| {
                record.run == held.run.0 && record.router_id == self.around.config.router_id
            })
        {
            lock.remove();
        }
    }

    /// After the loss of a shim: reports or sweeps, by its lock file or, where that was removed, by what was read of it.
    async fn settle_lost(&self, mut held: Held, live: Option<Live>) {
        held.shim.kill().await;
        if self.settle(&held.lock_path, live.clone()).await {
            return;
        }
        if let Some(record) = held.record {
            settle_dead(&self.around, self.key(), None, record, live).await;
        }
    }

    async fn listen(&self, held: &mut Held) -> Ending {
        loop {
            tokio::select! {
                biased;
                received = held.control.receive() => match received {
                    Ok(Some((FromShim::Exited(report), _))) => return Ending::Exited(report),
                    Ok(Some((FromShim::Refused { reason }, _))) => {
                        tracing::warn!(instance = %self.key().instance, reason, "the shim refused");
                    }
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => {
                        if let Some(ending) = self.reconnect(held).await {
                            return ending;
                        }
                    }
                },
                () = self.cell.wake.notified() => {
                    if let Some(ending) = self.grant_wishes(held).await {
                        return ending;
                    }
                }
            }
        }
    }

    /// Does what is wished of a running slot.
    async fn grant_wishes(&self, held: &mut Held) -> Option<Ending> {
        let wishes = std::mem::take(&mut *self.cell.wishes.lock());
        if let Some((run, _)) = wishes.launch {
            self.spawn_failed(run, format!("run {} of the slot has not ended", held.run))
                .await;
        }
        let mut messages: Vec<(ToShim, PassedFds)> = Vec::new();
        if let Some((run, bytes)) = wishes.blob
            && run == held.run
        {
            match blob::to_fd(&bytes) {
                Ok(fd) => messages.push((ToShim::Blob, vec![(Passed::Blob, fd)])),
                Err(error) => {
                    tracing::warn!(instance = %self.key().instance, error = %error, "no blob was kept");
                }
            }
        }
        if let Some((_, grace)) = wishes.stop.filter(|(run, _)| *run == held.run) {
            let grace_ms = milliseconds(grace);
            messages.push((ToShim::Stop { grace_ms }, Vec::new()));
        }
        match wishes.kill {
            Some(run) if run == held.run => {
                if let Some(live) = self.cell.live.lock().as_mut() {
                    live.dying = true;
                }
                messages.push((ToShim::Kill, Vec::new()));
            }
            Some(run) => tell_never_lived(&self.around, self.key().clone(), run).await,
            None => {}
        }
        let released = match wishes.release {
            Some(Release::Any) => true,
            Some(Release::Run(run)) => run == held.run,
            None => false,
        };
        if released {
            messages.push((ToShim::Release, Vec::new()));
        }
        for (message, passed) in messages {
            // Without a duplicate, for want of descriptors, the blob is refused and the one before stays.
            let duplicates = passed
                .iter()
                .filter_map(|(kind, fd)| Some((*kind, fd.try_clone().ok()?)))
                .collect();
            if held.control.send(&message, passed).await.is_err() {
                // A wish that was not heard by a shim that lives on is heard after the reconnection.
                let again = self.reconnect(held).await;
                if again.is_some() {
                    return again;
                }
                let _lost_again = held.control.send(&message, duplicates).await;
            }
        }
        released.then_some(Ending::Released)
    }

    /// After the end of a connection: either the shim is dying, or it is there to be connected to again.
    async fn reconnect(&self, held: &mut Held) -> Option<Ending> {
        if tokio::time::timeout(DYING_WITHIN, held.shim.gone())
            .await
            .is_ok()
        {
            return Some(Ending::Lost);
        }
        let deadline = Instant::now() + ADOPTED_WITHIN;
        while Instant::now() < deadline {
            if let Hold::Granted { control, .. } = self.try_to_hold(&held.control_path).await {
                held.control = control;
                return None;
            }
            if tokio::time::timeout(TRY_AGAIN_AFTER, held.shim.gone())
                .await
                .is_ok()
            {
                break;
            }
        }
        Some(Ending::Lost)
    }

    /// Kills a shim that we hold and cannot use.
    async fn abort(&self, mut held: Held, reason: &str) -> bool {
        held.shim.kill().await;
        self.settle_quietly(&held.lock_path).await;
        self.spawn_failed(held.run, reason.to_owned()).await;
        false
    }

    /// Takes the lock of a shim that is dead, says what became of its run, and clears up. `false` when the lock file
    /// tells of no run.
    async fn settle(&self, lock_path: &Path, live: Option<Live>) -> bool {
        match self.lock_of_the_dead(lock_path).await {
            Some((lock, Some(record))) => {
                settle_dead(&self.around, self.key(), Some(lock), record, live).await;
                true
            }
            Some((lock, None)) => {
                lock.remove();
                false
            }
            None => false,
        }
    }

    /// Clears up after a run that the driver never heard of.
    async fn settle_quietly(&self, lock_path: &Path) {
        if let Some((lock, record)) = self.lock_of_the_dead(lock_path).await {
            let clear = move || match record {
                Some(record) => drop(sweep_after(Some(lock), &record, Vec::new())),
                None => lock.remove(),
            };
            let _shutting_down = blocking(clear).await;
        }
    }

    /// The lock may stay held for a moment, by a child in the middle of its fork or by somebody who only looks.
    async fn lock_of_the_dead(&self, lock_path: &Path) -> Option<(SlotLock, Option<SlotRecord>)> {
        let deadline = Instant::now() + LOCK_FREE_WITHIN;
        loop {
            let path = lock_path.to_owned();
            match blocking(move || record::look(&path)).await? {
                Ok(LockState::Taken(lock, record)) => return Some((lock, record)),
                Ok(LockState::Absent) => return None,
                Ok(LockState::Held(_)) | Err(_) if Instant::now() >= deadline => return None,
                Ok(LockState::Held(_)) | Err(_) => tokio::time::sleep(TRY_AGAIN_AFTER).await,
            }
        }
    }

    async fn read_record(&self, lock_path: &Path) -> Option<SlotRecord> {
        let path = lock_path.to_owned();
        match blocking(move || record::look(&path)).await? {
            Ok(LockState::Held(record)) => record,
            _ => None,
        }
    }

    async fn spawn_failed(&self, run: Run, error: String) {
        let key = self.key().clone();
        self.tell(SupervisorEvent::SpawnFailed { key, run, error })
            .await;
    }

    async fn tell(&self, event: SupervisorEvent) {
        tell(&self.around, event).await;
    }

    fn hello(&self) -> Hello {
        Hello::new(&self.around.config.router_id, self.around.config.epoch)
    }

    fn key(&self) -> &SlotKey {
        &self.cell.key
    }
}
