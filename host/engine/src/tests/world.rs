//! An engine on a directory of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    CallFailure, Engine, EngineEvent, EngineOptions, Limits, NoValues, PluginSettings, PluginView,
    kinds::{SERVED, Served},
};
use router_core::{
    health::{HealthFacts, HealthVerdict},
    policy::PolicyKind,
};
use tokio::sync::mpsc;

/// Longest wait for anything. A loaded machine takes seconds for what takes milliseconds.
const SOON: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) engine: Engine,
    events: mpsc::Receiver<EngineEvent>,
}

/// Where `make plugins` puts the guests.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let target = if target.is_absolute() {
        target
    } else {
        root.join(target)
    };
    let path = match name {
        "default-health" | "default-breaker" | "default-capacity" | "default-alerts"
        | "alertmanager" | "console" | "pagerduty" | "slack" | "webhook" => {
            root.join("plugins/dist").join(format!("{name}.wasm"))
        }
        _ => target.join("guests").join(format!("{name}.wasm")),
    };
    fs::read(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; run `make plugins`", path.display());
    })
}

pub(crate) fn settings(plugin: &str, config: &str) -> PluginSettings {
    PluginSettings {
        config: [(plugin.to_owned(), config.parse().unwrap())].into(),
        ..PluginSettings::default()
    }
}

/// A rule for names as the configuration has one.
fn name_fault(name: &str) -> Option<String> {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (!name.bytes().all(is_plain)).then(|| format!("{name:?} is not a name"))
}

impl World {
    pub(crate) fn new(settings: PluginSettings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("plugins")).unwrap();
        Self::on(dir, settings)
    }

    pub(crate) fn on(dir: tempfile::TempDir, settings: PluginSettings) -> Self {
        Self::start(dir, settings, |_| {})
    }

    /// One whose options differ from the usual ones.
    pub(crate) fn start(
        dir: tempfile::TempDir,
        settings: PluginSettings,
        change: impl FnOnce(&mut EngineOptions),
    ) -> Self {
        Self::serving(SERVED, dir, settings, change)
    }

    /// One for other kinds of plugin.
    pub(crate) fn serving(
        kinds: &'static [Served],
        dir: tempfile::TempDir,
        settings: PluginSettings,
        change: impl FnOnce(&mut EngineOptions),
    ) -> Self {
        let mut options = EngineOptions {
            plugins_dir: dir.path().join("plugins"),
            trials_dir: None,
            cache_dir: Some(dir.path().join("cache")),
            settings,
            policies: None,
            name_fault,
            values: Arc::new(NoValues),
            reserve_address_space: true,
        };
        change(&mut options);
        let (engine, events) = Engine::serve(kinds, options).unwrap();
        Self {
            dir,
            engine,
            events,
        }
    }

    /// A hostile guest in a mode, loaded.
    pub(crate) async fn hostile(mode: &str) -> Self {
        Self::hostile_with(mode, Limits::default()).await
    }

    pub(crate) async fn hostile_with(mode: &str, limits: Limits) -> Self {
        Self::hostile_on(mode, limits, |_| {}).await
    }

    pub(crate) async fn hostile_on(
        mode: &str,
        limits: Limits,
        change: impl FnOnce(&mut EngineOptions),
    ) -> Self {
        let settings = PluginSettings {
            limits,
            ..settings("hostile-health", &format!("mode = '{mode}'"))
        };
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("plugins")).unwrap();
        let mut world = Self::start(dir, settings, change);
        world.put("hostile-health", &guest("hostile-health"));
        world.swapped("hostile-health").await;
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("plugins").join(format!("{name}.wasm"))
    }

    /// Puts a file in place by a rename, as `make plugins` does.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        let part = self.dir.path().join("part");
        fs::write(&part, bytes).unwrap();
        fs::rename(part, self.path(name)).unwrap();
    }

    pub(crate) async fn event(&mut self) -> EngineEvent {
        let event = tokio::time::timeout(SOON, self.events.recv()).await;
        let listing = self.engine.list();
        event
            .unwrap_or_else(|_| panic!("no event in time; {listing:?}"))
            .expect("the engine lives")
    }

    /// Waits until a generation of a plugin serves; its number.
    pub(crate) async fn swapped(&mut self, name: &str) -> u64 {
        loop {
            if let EngineEvent::Swapped {
                plugin, generation, ..
            } = self.event().await
                && plugin == name
            {
                return generation;
            }
        }
    }

    /// Waits until a candidate is refused; why.
    pub(crate) async fn refused(&mut self, name: &str) -> String {
        loop {
            if let EngineEvent::Refused { plugin, reason, .. } = self.event().await
                && plugin == name
            {
                return reason;
            }
        }
    }

    pub(crate) async fn judge(&self, policy: &str) -> Option<Result<HealthVerdict, CallFailure>> {
        self.engine.judge(policy, None, facts()).await
    }

    pub(crate) fn view(&self, name: &str) -> PluginView {
        self.engine.show(name).expect("the plugin is listed")
    }

    /// Waits until a condition holds.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut(&Engine) -> bool) {
        let deadline = Instant::now() + SOON;
        while !holds(&self.engine) {
            assert!(
                Instant::now() < deadline,
                "not in time: {what}; {:?}",
                self.engine.list()
            );
            // State of a file system and of other threads: there is nothing to be woken by.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(crate) fn facts() -> HealthFacts {
    HealthFacts {
        instance: "demo".into(),
        uptime_ms: 60_000,
        memory_bytes: Some(600 << 20),
        window_requests: 100,
        tools_missing: vec!["a tool".into()],
        ..HealthFacts::default()
    }
}

/// The bundled policy.
pub(crate) const NAME: &str = "default-health";

/// Policies that name these plugins for health.
pub(crate) fn named_for_health(names: &[&str]) -> crate::NamedPolicies {
    let named = names.iter();
    named
        .map(|name| ((*name).to_owned(), [PolicyKind::Health].into()))
        .collect()
}

/// An engine that serves it.
pub(crate) async fn loaded() -> World {
    let mut world = World::new(PluginSettings::default());
    world.put(NAME, &guest(NAME));
    assert_eq!(world.swapped(NAME).await, 1);
    world
}

/// The same component with another custom section, so that only its digest differs.
pub(crate) fn variant(tag: u8) -> Vec<u8> {
    let mut bytes = guest(NAME);
    // Section 0, custom: length, length of its name, name, content.
    bytes.extend_from_slice(&[0, 4, 1, b'x', tag, tag]);
    bytes
}
