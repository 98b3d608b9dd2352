//! One slot in use: its shim is started or adopted, listened to, told what the driver wishes, and missed when lost.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use godot_mcp_shim::{
    paths::{SlotPaths, SocketPathTooLong},
    protocol::{ExitReport, FromShim, Hello, Passed, SlotState, ToShim, Transport},
    record::{self, LockError, LockState, SlotRecord},
    wire::PassedFds,
};
use router_core::{Run, SlotKey};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    Adoption, InstanceIo, LaunchSpec, SlotExit, SupervisorEvent,
    adoption::{Found, blocking, settle_dead, tell, tell_never_lived},
    blob,
    control::Control,
    data_dir::random_hex,
    launch::{LaunchFrame, milliseconds},
    shim_process::ShimProcess,
    slots::{Blob, Live, Release, SlotCell, Slots},
    supervisor::Surroundings,
};

/// How long a command may take to be executed. Only a hung file system makes it longer.
const STARTED_WITHIN: Duration = Duration::from_secs(30);

/// How long an answer to a hello may take: one turn of the shim's loop, on a loaded machine.
const WELCOME_WITHIN: Duration = Duration::from_secs(2);

/// How long to go on trying for a slot whose holder is just dying, whose socket is just being bound again, or whose
/// shim is slow.
const ADOPTED_WITHIN: Duration = Duration::from_secs(6);

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

/// Why a run was not started.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Path(#[from] SocketPathTooLong),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("the slot is held by shim {shim} of router {router_id}")]
    Foreign { shim: i32, router_id: String },
    #[error("the shim cannot be started: {0}")]
    Shim(#[source] io::Error),
    #[error("the shim cannot be told what to run: {0}")]
    Told(#[source] io::Error),
    #[error("{0}")]
    Refused(String),
    #[error("the shim gave no answer: {0}")]
    NoAnswer(#[source] io::Error),
    #[error("it was stopped before it was started")]
    Stopped,
    #[error("the router is shutting down")]
    ShuttingDown,
}

/// What came of trying to hold a found shim.
#[derive(Debug)]
enum Hold {
    Granted {
        control: Control,
        state: SlotState,
        pid: Option<u32>,
        passed: PassedFds,
    },
    Busy {
        router_id: String,
        pid: u32,
    },
    Failed(io::Error),
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

    /// One run from launch to end. `true` when it was released.
    async fn launch(&self, run: Run, spec: LaunchSpec) -> bool {
        let transport = spec.transport;
        match self.start(run, spec).await {
            Ok((held, pid, passed, socket_path)) => {
                let Some(io) = io_of(transport, passed, socket_path).map(|(io, _)| io) else {
                    return self.abort(held, "the shim passed no descriptors").await;
                };
                tracing::info!(
                    instance = %self.key().instance, slot = self.key().slot, run = run.0, pid, state = "started",
                    "instance process started (version_id: {})", self.key().instance
                );
                let key = self.key().clone();
                self.tell(SupervisorEvent::Started { key, run, pid, io })
                    .await;
                self.hold(held).await
            }
            Err(error) => {
                self.spawn_failed(run, error.to_string()).await;
                false
            }
        }
    }

    async fn start(
        &self,
        run: Run,
        spec: LaunchSpec,
    ) -> Result<(Held, u32, PassedFds, PathBuf), StartError> {
        if self.stop_wished(run) {
            return Err(StartError::Stopped);
        }
        let key = self.key();
        let config = &self.around.config;
        let paths = SlotPaths::new(
            &config.socket_dir,
            key.instance.as_str(),
            key.slot,
            spec.transport,
        )?;
        self.clear_stray(&paths.lock).await?;
        let marker = random_hex(16).map_err(StartError::Shim)?;
        let (control_path, lock_path, socket_path) = (
            paths.control.clone(),
            paths.lock.clone(),
            paths.socket.clone(),
        );
        let message = spec.into_message(LaunchFrame {
            around: &self.around,
            key,
            run,
            marker,
            paths,
        });
        let (shim, stream) =
            ShimProcess::start(&self.around, key.instance.as_str()).map_err(StartError::Shim)?;
        let mut held = Held {
            run,
            control: Control::new(stream).map_err(StartError::Shim)?,
            shim,
            control_path,
            lock_path,
            record: None,
        };
        let outcome = held
            .begin(&self.hello(), ToShim::Launch(Box::new(message)))
            .await;
        match outcome {
            Ok((pid, passed)) => {
                held.record = self.read_record(&held.lock_path).await;
                Ok((held, pid, passed, socket_path))
            }
            Err(StartError::Refused(reason)) => {
                let _gone = held.control.send(&ToShim::ExitSeen, Vec::new()).await;
                held.shim.see_off().await;
                Err(StartError::Refused(reason))
            }
            Err(error) => {
                held.shim.kill().await;
                self.settle_quietly(&held.lock_path).await;
                Err(error)
            }
        }
    }

    /// Adopts a found shim. `true` when it was released afterwards.
    async fn adopt(&self, found: Found, done: oneshot::Sender<bool>) -> bool {
        let deadline = Instant::now() + ADOPTED_WITHIN;
        loop {
            let outcome = self.try_to_hold(&found.record.control_path).await;
            let last_try = Instant::now() >= deadline;
            match outcome {
                Hold::Granted {
                    control,
                    state,
                    pid,
                    passed,
                } => {
                    return self
                        .adopted(found, done, control, (state, pid, passed))
                        .await;
                }
                Hold::Busy { router_id, pid } if last_try => {
                    let key = self.key().clone();
                    self.tell(SupervisorEvent::HeldElsewhere {
                        key,
                        router_id,
                        pid,
                    })
                    .await;
                    return false;
                }
                Hold::Failed(error) => {
                    if self.settle_if_dead(&found.lock_path, None).await {
                        return false;
                    }
                    if last_try {
                        return self.give_up(&found, &error).await;
                    }
                }
                Hold::Busy { .. } => {}
            }
            // Its process is gone within moments, or is not: there is nothing of it to wait on from here.
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
        }
    }

    async fn adopted(
        &self,
        found: Found,
        done: oneshot::Sender<bool>,
        control: Control,
        (state, pid, passed): (SlotState, Option<u32>, PassedFds),
    ) -> bool {
        let record = found.record;
        let kept_record = Some(record.clone());
        let run = Run(record.run);
        let Ok(shim) = ShimProcess::found(record.shim) else {
            // It died between its answer and now.
            self.settle_if_dead(&found.lock_path, None).await;
            return false;
        };
        let mut held = Held {
            run,
            control,
            shim,
            control_path: record.control_path,
            lock_path: found.lock_path,
            record: kept_record,
        };
        let (pid, passed) = match (state, pid) {
            (SlotState::Starting, _) => match held.started().await {
                Ok(started) => started,
                Err(error) => return self.abort(held, &error.to_string()).await,
            },
            (_, pid) => (pid.unwrap_or(0), passed),
        };
        let (io, blob) = match io_of(record.transport, passed, record.socket_path) {
            Some((io, blob)) => (Some(io), blob),
            None if state == SlotState::Stopping => (None, None),
            None => return self.abort(held, "the shim passed no descriptors").await,
        };
        tracing::info!(
            instance = %self.key().instance, slot = self.key().slot, run = run.0, pid, state = "adopted",
            "instance process adopted (version_id: {})", self.key().instance
        );
        let adoption = Adoption {
            pid,
            io: io.filter(|_| state != SlotState::Stopping),
            blob: blob.and_then(|fd| blob::from_fd(fd).ok()),
            spec_digest: record.spec_digest,
            started_at_ms: record.started_at_ms,
        };
        let key = self.key().clone();
        self.tell(SupervisorEvent::Adopted { key, run, adoption })
            .await;
        let _nobody_counts = done.send(true);
        self.hold(held).await
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
                let exit = SlotExit::new(report, live.and_then(|live| live.rss_bytes));
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

    /// After the loss of a shim: reports or sweeps, by its lock file or, where that was removed, by what was read of it.
    async fn settle_lost(&self, mut held: Held, live: Option<Live>) {
        held.shim.kill().await;
        let deadline = Instant::now() + LOCK_FREE_WITHIN;
        while !self.settle_if_dead(&held.lock_path, live.clone()).await {
            if Instant::now() >= deadline {
                if let Some(record) = held.record {
                    settle_dead(&self.around, self.key(), None, record, live).await;
                }
                return;
            }
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
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
        match wishes.blob {
            Some((run, Blob::Clear)) if run == held.run => {
                messages.push((ToShim::ClearBlob, Vec::new()));
            }
            Some((run, Blob::Put(bytes))) if run == held.run => match blob::to_fd(&bytes) {
                Ok(fd) => messages.push((ToShim::Blob, vec![(Passed::Blob, fd)])),
                Err(error) => {
                    tracing::warn!(instance = %self.key().instance, error = %error, "no blob was kept");
                }
            },
            _ => {}
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
            if held.control.send(&message, passed).await.is_err() {
                // A wish that was not heard by a shim that lives on is heard after the reconnection.
                let again = self.reconnect(held).await;
                if again.is_some() {
                    return again;
                }
                let _lost_again = held.control.send(&message, Vec::new()).await;
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

    async fn try_to_hold(&self, control_path: &Path) -> Hold {
        let attempt = async {
            let mut control = Control::connect(control_path).await?;
            control
                .send(&ToShim::Hello(self.hello()), Vec::new())
                .await?;
            match control.receive_within(WELCOME_WITHIN).await? {
                Some((FromShim::Welcome(welcome), passed)) => Ok(Hold::Granted {
                    control,
                    state: welcome.state,
                    pid: welcome.pid,
                    passed,
                }),
                Some((FromShim::Busy { router_id, pid }, _)) => Ok(Hold::Busy { router_id, pid }),
                Some((FromShim::Refused { reason }, _)) => Err(io::Error::other(reason)),
                Some(_) => Err(io::Error::other("an unexpected answer to a hello")),
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        };
        attempt.await.unwrap_or_else(Hold::Failed)
    }

    /// Ends a shim of ours that was found before but could not be adopted.
    async fn give_up(&self, found: &Found, error: &io::Error) -> bool {
        tracing::error!(
            instance = %self.key().instance, error = %error,
            "a shim does not answer and is killed (version_id: {})", self.key().instance
        );
        if let Ok(mut shim) = ShimProcess::found(found.record.shim) {
            shim.kill().await;
        }
        self.settle_if_dead(&found.lock_path, None).await;
        false
    }

    /// Kills a shim that we hold and cannot use.
    async fn abort(&self, mut held: Held, reason: &str) -> bool {
        held.shim.kill().await;
        self.settle_quietly(&held.lock_path).await;
        self.spawn_failed(held.run, reason.to_owned()).await;
        false
    }

    /// Before a launch: whoever holds the lock in our name is a stray that adoption did not reach.
    async fn clear_stray(&self, lock_path: &Path) -> Result<(), StartError> {
        let path = lock_path.to_owned();
        match blocking(move || record::look(&path))
            .await
            .ok_or(StartError::ShuttingDown)??
        {
            LockState::Held(Some(record)) if record.router_id == self.around.config.router_id => {
                tracing::warn!(instance = %self.key().instance, "a stray shim of this slot is killed");
                if let Ok(mut shim) = ShimProcess::found(record.shim) {
                    shim.kill().await;
                }
                self.settle_quietly(lock_path).await;
                Ok(())
            }
            LockState::Held(Some(record)) => Err(StartError::Foreign {
                shim: record.shim.pid,
                router_id: record.router_id,
            }),
            // The next shim clears what a dead one left, and waits for one that is just beginning or ending.
            LockState::Held(None) | LockState::Taken(..) | LockState::Absent => Ok(()),
        }
    }

    /// If nobody holds the lock any more, says what became of its run and clears up.
    async fn settle_if_dead(&self, lock_path: &Path, live: Option<Live>) -> bool {
        let path = lock_path.to_owned();
        if let Some(Ok(LockState::Taken(lock, Some(record)))) =
            blocking(move || record::look(&path)).await
        {
            settle_dead(&self.around, self.key(), Some(lock), record, live).await;
            return true;
        }
        false
    }

    /// Clears up after a run that the driver never heard of.
    async fn settle_quietly(&self, lock_path: &Path) {
        let path = lock_path.to_owned();
        let _shutting_down = blocking(move || {
            if let Ok(LockState::Taken(lock, Some(record))) = record::look(&path) {
                crate::adoption::sweep_after(Some(lock), &record, Vec::new());
            }
        })
        .await;
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

    fn stop_wished(&self, run: Run) -> bool {
        let wishes = self.cell.wishes.lock();
        wishes.kill == Some(run) || wishes.stop.is_some_and(|(stopped, _)| stopped == run)
    }

    fn hello(&self) -> Hello {
        Hello::new(&self.around.config.router_id, self.around.config.epoch)
    }

    fn key(&self) -> &SlotKey {
        &self.cell.key
    }
}

impl Held {
    /// Says hello and what to run, and waits until it runs.
    async fn begin(
        &mut self,
        hello: &Hello,
        launch: ToShim,
    ) -> Result<(u32, PassedFds), StartError> {
        for message in [ToShim::Hello(hello.clone()), launch] {
            self.control
                .send(&message, Vec::new())
                .await
                .map_err(StartError::Told)?;
        }
        self.started().await
    }

    async fn started(&mut self) -> Result<(u32, PassedFds), StartError> {
        let deadline = Instant::now() + STARTED_WITHIN;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self
                .control
                .receive_within(left)
                .await
                .map_err(StartError::NoAnswer)?
            {
                Some((FromShim::Started { pid }, passed)) => return Ok((pid, passed)),
                Some((FromShim::SpawnFailed { error }, _)) => {
                    return Err(StartError::Refused(error));
                }
                Some((FromShim::Refused { reason }, _)) => return Err(StartError::Refused(reason)),
                Some((FromShim::Exited(_), _)) => return Err(StartError::Stopped),
                Some(_) => {}
                None => return Err(StartError::NoAnswer(io::ErrorKind::UnexpectedEof.into())),
            }
        }
    }
}

/// Sorts what a shim passed. `None` when something is missing.
fn io_of(
    transport: Transport,
    passed: PassedFds,
    socket_path: PathBuf,
) -> Option<(InstanceIo, Option<OwnedFd>)> {
    let (mut stdin, mut stdout, mut blob) = (None, None, None);
    for (kind, fd) in passed {
        match kind {
            Passed::Stdin => stdin = Some(fd),
            Passed::Stdout => stdout = Some(fd),
            Passed::Blob => blob = Some(fd),
            Passed::Unknown => {}
        }
    }
    let io = match transport {
        Transport::Stdio => InstanceIo::Stdio {
            stdin: stdin?,
            stdout: stdout?,
        },
        Transport::Socket => InstanceIo::Socket(socket_path),
    };
    Some((io, blob))
}
