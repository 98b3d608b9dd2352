//! The engine's front: asking policies, looking at plugins, and the loop that keeps an eye on the directory.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use notify::Watcher as _;
use parking_lot::Mutex;
use router_core::health::{HealthFacts, HealthVerdict};
use serde::Serialize;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    EngineOptions, PluginSettings,
    generation::{Failure, Judged},
    machine::{Machine, MachineError},
    registry::{EngineEvent, Entry},
    values::Values,
    view::PluginView,
};

/// How often the directory is looked at without any hint: events get lost, and a replaced directory sends none.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A hint is followed after so long without another one, and after so long in any case.
const SETTLE: Duration = Duration::from_millis(100);
const SETTLE_MAX: Duration = Duration::from_millis(500);

/// Calls that may be under way at once, each with a store; past it the built-in default answers at once.
pub(crate) const CALLS_MAX: usize = 64;

/// Events that may wait to be told. What does not fit is in the listing all the same.
const EVENTS_MAX: usize = 256;

/// Why there is no engine.
pub type EngineError = MachineError;

/// What a look at the directory did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReloadReport {
    /// Plugins with a new generation.
    pub loaded: Vec<String>,
    /// Plugins as they were.
    pub unchanged: Vec<String>,
    /// Candidates that were refused, each with its reason.
    pub refused: BTreeMap<String, String>,
    /// Plugins whose file is gone.
    pub removed: Vec<String>,
}

/// Asks and shows plugins. Cheap to clone; may be used from any runtime.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    ends: CancellationToken,
}

/// What calls and the loader share.
pub(crate) struct Shared {
    pub(crate) machine: Arc<Machine>,
    pub(crate) plugins_dir: PathBuf,
    pub(crate) settings: Mutex<PluginSettings>,
    pub(crate) values: Values,
    pub(crate) plugins: Mutex<BTreeMap<String, Entry>>,
    /// What the operator said about each plugin when it was last looked at.
    pub(crate) applied: Mutex<HashMap<String, String>>,
    pub(crate) looking: tokio::sync::Mutex<()>,
    calls: Semaphore,
    events: mpsc::Sender<EngineEvent>,
}

impl Shared {
    /// Tells of an event; never waits.
    pub(crate) fn tell(&self, event: EngineEvent) {
        if self.events.try_send(event).is_err() {
            tracing::warn!("an event of a plugin was not told: too many at once");
        }
    }

    /// One call, from its store to the next one's. Tells the answer as soon as it is there; without telling it ends where there
    /// is no such policy, one in quarantine, or too many calls at once.
    async fn judge(
        &self,
        policy: &str,
        facts: HealthFacts,
        tell: impl FnOnce(Result<HealthVerdict, Failure>),
    ) {
        let Ok(_permit) = self.calls.try_acquire() else {
            return;
        };
        let generation = {
            let mut plugins = self.plugins.lock();
            plugins.get_mut(policy).and_then(Entry::generation_for_call)
        };
        let Some(generation) = generation else {
            return;
        };
        let Judged {
            answer,
            took,
            spent,
        } = generation.judge(&facts).await;
        let event = {
            let mut plugins = self.plugins.lock();
            let entry = plugins.get_mut(policy);
            entry.and_then(|entry| entry.ended(&generation, facts, (&answer, took)))
        };
        if let Some(event) = event {
            self.tell(event);
        }
        tell(answer);
        // Clearing the store takes as long as the call did: whoever waits has the answer by now. But it is done before the next
        // call, so that there are never more stores than calls; and before the next store is made, which then gets warm memory.
        drop(spent);
        generation.refill().await;
    }
}

impl Engine {
    /// Starts the threads and the first look at the directory, and returns before that is over: until a policy is loaded, the
    /// built-in default answers.
    ///
    /// # Errors
    /// wasmtime or a thread cannot be started.
    pub fn start(
        options: EngineOptions,
    ) -> Result<(Self, mpsc::Receiver<EngineEvent>), EngineError> {
        let machine = Machine::start(options.cache_dir.as_deref())?;
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let shared = Arc::new(Shared {
            machine: Arc::new(machine),
            plugins_dir: options.plugins_dir,
            settings: Mutex::new(options.settings),
            values: Values::new(options.values),
            plugins: Mutex::default(),
            applied: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            calls: Semaphore::new(CALLS_MAX),
            events,
        });
        let ends = CancellationToken::new();
        let watch = watch(Arc::clone(&shared), ends.clone());
        shared.machine.runtime.spawn(watch);
        Ok((Self { shared, ends }, receiver))
    }

    /// Asks a health policy about one slot. `None`: no such policy is loaded, or it is in quarantine.
    ///
    /// # Errors
    /// It failed.
    pub async fn judge(
        &self,
        policy: &str,
        facts: HealthFacts,
    ) -> Option<Result<HealthVerdict, Failure>> {
        let shared = Arc::clone(&self.shared);
        let policy = policy.to_owned();
        let (tell, told) = oneshot::channel();
        // An answer that nobody waits for any more counts like any other.
        let tell = |answer| drop(tell.send(answer));
        let call = async move { shared.judge(&policy, facts, tell).await };
        self.shared.machine.runtime.spawn(call);
        told.await.ok()
    }

    /// How long a call takes, recording included, so many times, in microseconds. For measuring tools.
    pub async fn measure_judge(
        &self,
        policy: &str,
        facts: HealthFacts,
        times: usize,
    ) -> Option<Vec<f64>> {
        let shared = Arc::clone(&self.shared);
        let policy = policy.to_owned();
        let measure = async move {
            let mut micros = Vec::with_capacity(times);
            for _ in 0..times {
                let facts = facts.clone();
                let begun = std::time::Instant::now();
                let mut took = None;
                let tell = |answer: Result<_, _>| took = answer.ok().map(|_| begun.elapsed());
                shared.judge(&policy, facts, tell).await;
                micros.push(took?.as_secs_f64() * 1e6);
            }
            Some(micros)
        };
        self.shared.machine.runtime.spawn(measure).await.ok()?
    }

    /// How long making a store takes, so many times, in microseconds. For measuring tools.
    pub async fn measure_instantiate(&self, plugin: &str, times: usize) -> Option<Vec<f64>> {
        let generation = self.shared.plugins.lock().get(plugin)?.serving.clone()?;
        let measure = async move {
            let mut micros = Vec::with_capacity(times);
            for _ in 0..times {
                let begun = std::time::Instant::now();
                generation.make_one().await.ok()?;
                micros.push(begun.elapsed().as_secs_f64() * 1e6);
            }
            Some(micros)
        };
        self.shared.machine.runtime.spawn(measure).await.ok()?
    }

    /// Every plugin.
    #[must_use]
    pub fn list(&self) -> Vec<PluginView> {
        let plugins = self.shared.plugins.lock();
        let views = plugins.iter().map(|(name, entry)| entry.view(name, false));
        views.collect()
    }

    /// One plugin, with its last decisions.
    #[must_use]
    pub fn show(&self, name: &str) -> Option<PluginView> {
        let plugins = self.shared.plugins.lock();
        Some(plugins.get(name)?.view(name, true))
    }

    /// How many plugins are in quarantine.
    #[must_use]
    pub fn quarantined(&self) -> usize {
        let plugins = self.shared.plugins.lock();
        plugins
            .values()
            .filter(|entry| entry.is_quarantined())
            .count()
    }

    /// Looks at the directory now.
    pub async fn reload_now(&self) -> ReloadReport {
        let shared = Arc::clone(&self.shared);
        let look = self
            .shared
            .machine
            .runtime
            .spawn(async move { shared.look().await });
        look.await.unwrap_or_default()
    }

    /// Takes other settings, and looks at every plugin that they concern.
    pub async fn reconfigure(&self, settings: PluginSettings) -> ReloadReport {
        *self.shared.settings.lock() = settings;
        self.reload_now().await
    }

    /// Ends the threads. A call in progress has no answer then.
    pub async fn shutdown(&self) {
        self.ends.cancel();
        let machine = Arc::clone(&self.shared.machine);
        // Joins threads: at most as long as one call may take.
        let _ = tokio::task::spawn_blocking(move || machine.stop()).await;
    }
}

/// Follows hints and the clock until the engine ends.
async fn watch(shared: Arc<Shared>, ends: CancellationToken) {
    let hint = Arc::new(Notify::new());
    let mut watcher = None;
    loop {
        // A directory that is not there yet, or was replaced, is watched as soon as it is there (again).
        watcher = watching(&shared, &hint, watcher);
        shared.look().await;
        tokio::select! {
            () = hint.notified() => settle(&hint).await,
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = ends.cancelled() => return,
        }
    }
}

/// Waits until a burst of writes is over, within reason.
async fn settle(hint: &Notify) {
    let quiet = async { while tokio::time::timeout(SETTLE, hint.notified()).await.is_ok() {} };
    // A file that is written without pause is looked at all the same.
    let _ = tokio::time::timeout(SETTLE_MAX, quiet).await;
}

struct Watching {
    _watcher: notify::RecommendedWatcher,
    inode: u64,
}

fn watching(shared: &Shared, hint: &Arc<Notify>, before: Option<Watching>) -> Option<Watching> {
    use std::os::unix::fs::MetadataExt as _;
    let directory = &shared.plugins_dir;
    let inode = std::fs::metadata(directory).ok()?.ino();
    if let Some(before) = before.filter(|before| before.inode == inode) {
        return Some(before);
    }
    let hint = Arc::clone(hint);
    let hear = move |_: notify::Result<notify::Event>| hint.notify_one();
    let mut watcher = notify::recommended_watcher(hear).ok()?;
    match watcher.watch(directory, notify::RecursiveMode::NonRecursive) {
        Ok(()) => Some(Watching {
            _watcher: watcher,
            inode,
        }),
        Err(error) => {
            tracing::debug!(error = %error, "plugins are looked for every two seconds only");
            None
        }
    }
}
