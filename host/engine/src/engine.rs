//! The engine's front: asking policies, looking at plugins, and the loop that keeps an eye on the directory.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use notify::{
    EventKind, Watcher as _,
    event::{AccessKind, AccessMode},
};
use parking_lot::Mutex;
use router_core::health::{HealthFacts, HealthVerdict};
use serde::Serialize;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    EngineOptions, PluginSettings,
    generation::{Failure, Judged},
    loader::{Look, is_in_use},
    machine::{Machine, MachineError, Stores},
    registry::{EngineEvent, Entry},
    values::Values,
    view::PluginView,
};

/// How often the directory is looked at without any hint: events get lost, and a replaced directory sends none.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A hint is followed after so long without another one, and after so long in any case.
const SETTLE: Duration = Duration::from_millis(100);
const SETTLE_MAX: Duration = Duration::from_millis(500);

/// Questions that may wait or be asked at once; past it the built-in default answers at once. There is one per slot at most, and
/// `instances.max_instances` allows 100,000.
const QUESTIONS_MAX: usize = 128 * 1024;

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
    /// Candidates that were refused, at this look or before, each with its reason.
    pub refused: BTreeMap<String, String>,
    /// Plugins whose file is gone.
    pub removed: Vec<String>,
    /// Plugins that a policy names and that are not there.
    pub missing: BTreeSet<String>,
    /// Why the directory could not be looked at.
    pub fault: Option<String>,
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
    pub(crate) name_fault: fn(&str) -> Option<String>,
    pub(crate) settings: Mutex<PluginSettings>,
    pub(crate) policies: Mutex<Option<BTreeSet<String>>>,
    pub(crate) values: Values,
    pub(crate) plugins: Mutex<BTreeMap<String, Entry>>,
    /// What the operator said about each plugin when it was last looked at.
    pub(crate) applied: Mutex<HashMap<String, String>>,
    /// Those of the policies that were not there at the last look, if there was one.
    pub(crate) missing: Mutex<Option<BTreeSet<String>>>,
    /// Why the directory could not be read at the last look.
    pub(crate) fault: Mutex<Option<String>>,
    pub(crate) looking: tokio::sync::Mutex<()>,
    questions: Arc<Semaphore>,
    events: mpsc::Sender<EngineEvent>,
}

impl Shared {
    /// Tells of an event; never waits.
    pub(crate) fn tell(&self, event: EngineEvent) {
        if self.events.try_send(event).is_err() {
            tracing::warn!("an event of a plugin was not told: too many at once");
        }
    }

    /// One call, from its store to the next one's. Tells the answer as soon as it is there, and says when that was; ends without
    /// one where there is no such policy, one in quarantine, or nobody who waits any more.
    async fn judge(
        &self,
        policy: &str,
        facts: HealthFacts,
        tell: oneshot::Sender<Result<HealthVerdict, Failure>>,
    ) -> Option<Instant> {
        let turn = Arc::clone(&self.plugins.lock().get(policy)?.turn);
        let _its_turn = turn.lock().await;
        if tell.is_closed() {
            return None;
        }
        let generation = self.plugins.lock().get_mut(policy)?.generation_for_call()?;
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
        // An answer that nobody waits for any more counts like any other.
        let _ = tell.send(answer);
        let told_at = Instant::now();
        // Clearing the store takes as long as the call did: whoever waits has the answer by now. But it is done before the next
        // call, so that there are never more stores than calls; and before the next store is made, which then gets warm memory.
        drop(spent);
        generation.refill().await;
        Some(told_at)
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
        let stores = if options.reserve_address_space {
            Stores::Reserved
        } else {
            Stores::OneByOne
        };
        let machine = Machine::start(options.cache_dir.as_deref(), stores)?;
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let shared = Arc::new(Shared {
            machine: Arc::new(machine),
            plugins_dir: options.plugins_dir,
            name_fault: options.name_fault,
            settings: Mutex::new(options.settings),
            policies: Mutex::new(options.policies),
            values: Values::new(options.values),
            plugins: Mutex::default(),
            applied: Mutex::default(),
            missing: Mutex::default(),
            fault: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            questions: Arc::new(Semaphore::new(QUESTIONS_MAX)),
            events,
        });
        let ends = CancellationToken::new();
        let runtime = &shared.machine.runtime;
        runtime.spawn(watch(Arc::clone(&shared), ends.clone()));
        runtime.spawn({
            let (shared, ends) = (Arc::clone(&shared), ends.clone());
            async move { shared.values.keep_up(ends).await }
        });
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
        let question = Arc::clone(&shared.questions).try_acquire_owned().ok()?;
        let policy = policy.to_owned();
        let (tell, told) = oneshot::channel();
        self.shared.machine.runtime.spawn(async move {
            shared.judge(&policy, facts, tell).await;
            drop(question);
        });
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
                let begun = Instant::now();
                let (tell, mut told) = oneshot::channel();
                let at = shared.judge(&policy, facts, tell).await?;
                told.try_recv().ok()?.ok()?;
                micros.push(at.duration_since(begun).as_secs_f64() * 1e6);
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
                let begun = Instant::now();
                generation.make_one().await.ok()?;
                micros.push(begun.elapsed().as_secs_f64() * 1e6);
            }
            Some(micros)
        };
        self.shared.machine.runtime.spawn(measure).await.ok()?
    }

    /// Every plugin, and those that a policy names and that are not there.
    #[must_use]
    pub fn list(&self) -> Vec<PluginView> {
        let policies = self.shared.policies.lock().clone();
        let mut views: Vec<PluginView> = {
            let plugins = self.shared.plugins.lock();
            let views = plugins.iter();
            views
                .map(|(name, entry)| entry.view(name, is_in_use(policies.as_ref(), name), false))
                .collect()
        };
        views.extend(self.absent());
        views
    }

    /// One plugin, with its last decisions.
    #[must_use]
    pub fn show(&self, name: &str) -> Option<PluginView> {
        let policies = self.shared.policies.lock().clone();
        if let Some(entry) = self.shared.plugins.lock().get(name) {
            return Some(entry.view(name, is_in_use(policies.as_ref(), name), true));
        }
        self.absent().into_iter().find(|view| view.name == name)
    }

    /// Plugins that a policy names and that are not there, or were not looked at yet.
    fn absent(&self) -> Vec<PluginView> {
        let shared = &self.shared;
        if let Some(missing) = &*shared.missing.lock() {
            let missing = missing.iter();
            return missing
                .map(|name| Entry::missing(name, &shared.plugins_dir))
                .collect();
        }
        let named = shared.policies.lock().clone().unwrap_or_default();
        let plugins = shared.plugins.lock();
        let named = named.iter().filter(|name| !plugins.contains_key(*name));
        named.map(|name| Entry::loading(name)).collect()
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

    /// Says which plugins are named by a policy: of the router, of a template, or of an instance. One that is not there is told
    /// once; the quarantine of one that is no longer named ends.
    pub fn use_policies(&self, names: BTreeSet<String>) {
        *self.shared.policies.lock() = Some(names);
        self.shared.lapse();
        // Before the first look nobody knows what is there.
        if self.shared.missing.lock().is_some() {
            self.shared.note_missing();
        }
    }

    /// Looks at the directory now: reads every file, and tries every refused candidate again.
    pub async fn reload_now(&self) -> ReloadReport {
        let shared = Arc::clone(&self.shared);
        let look = self
            .shared
            .machine
            .runtime
            .spawn(async move { shared.look(Look::Asked).await });
        look.await.unwrap_or_default()
    }

    /// Takes other settings, and looks at every plugin that they concern.
    pub async fn reconfigure(&self, settings: PluginSettings) -> ReloadReport {
        *self.shared.settings.lock() = settings;
        self.reload_now().await
    }

    /// Writes what plugins keep, and ends the threads. A call in progress has no answer then.
    pub async fn shutdown(&self) {
        self.shared.values.finish().await;
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
        shared.look(Look::Round).await;
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
    let hear = move |event: notify::Result<notify::Event>| {
        if event.map_or(true, |event| is_hint(event.kind)) {
            hint.notify_one();
        }
    };
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

/// Whether an event may be that of a file that changed. Looking at the directory is an event of its own, and no reason to look
/// again.
fn is_hint(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use notify::Watcher as _;

    use super::is_hint;

    #[test]
    fn a_look_is_no_hint_and_a_write_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.wasm");
        fs::write(&file, "before").unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let hear = move |event: notify::Result<notify::Event>| {
            if is_hint(event.unwrap().kind) {
                let _ = tell.send(());
            }
        };
        let mut watcher = notify::recommended_watcher(hear).unwrap();
        let mode = notify::RecursiveMode::NonRecursive;
        watcher.watch(dir.path(), mode).unwrap();
        for _ in 0..3 {
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
            fs::read(&file).unwrap();
        }
        assert!(told.recv_timeout(Duration::from_millis(300)).is_err());
        fs::write(&file, "after").unwrap();
        told.recv_timeout(Duration::from_secs(10)).unwrap();
    }
}
