//! Reloading: scanning the directory, and taking each new candidate into service. A bad one leaves the one before.

mod copies;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use router_egress::{Egress, EgressOptions};
use serde::Serialize;

use crate::{
    Grants, PluginSettings, contract, deciding,
    directory::{self, Files, ListedFile, Stamps},
    event::EngineEvent,
    generation::{Compiled, Generation, GenerationParts},
    manifest::Manifest,
    rejection::{INTERNAL, REFUSED_CONFIG, Rejection},
    settings,
    shared::EngineShared,
    sinks::EntrySettings,
    trials::KeptCopy,
};

/// A file that is replaced by removing and writing it is missing for a moment; so long the plugin goes on without its file.
const MISSING_FOR: Duration = Duration::from_secs(5);

/// Why the directory is scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scan {
    /// By itself: what is as it was is left alone, and a refused candidate is tried again when its time has come.
    Periodic,
    /// An operator asked for it: every file is read, and every refused candidate tried again.
    Requested,
}

/// What a scan of the directory did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginReload {
    /// Plugins with a new generation.
    pub loaded: Vec<String>,
    /// Plugins as they were.
    pub unchanged: Vec<String>,
    /// Candidates that were refused, at this scan or before, each with its reason.
    pub refused: BTreeMap<String, String>,
    /// Plugins whose file is gone.
    pub removed: Vec<String>,
    /// Plugins that a policy names and that are not there.
    pub missing: BTreeSet<String>,
    /// Why the directory could not be read.
    pub fault: Option<String>,
}

/// What came of one plugin of a scan.
enum Scanned {
    Unchanged,
    Swapped,
    /// It is tried before it is in force, or held.
    Offered,
    Refused(String),
}

impl EngineShared {
    /// Scans the directory, loads what is new, and removes what is gone.
    pub(crate) async fn scan(self: &Arc<Self>, scan: Scan) -> PluginReload {
        let _one_at_a_time = self.scan.lock().await;
        let settings = self.settings.lock().clone();
        let mut report = PluginReload::default();
        match self.listed().await {
            Ok(mut found) => {
                settings.add_sinks(&mut found);
                self.remove_missing(&found, &mut report);
                for (name, listed) in found {
                    match self.scan_one(&name, listed, scan, &settings).await {
                        Scanned::Unchanged => report.unchanged.push(name),
                        Scanned::Swapped | Scanned::Offered => report.loaded.push(name),
                        Scanned::Refused(reason) => {
                            report.refused.insert(name, reason);
                        }
                    }
                }
            }
            // Everything stays as it was.
            Err(error) => report.fault = Some(error.to_string()),
        }
        let before = std::mem::replace(&mut *self.fault.lock(), report.fault.clone());
        if let Some(reason) = report.fault.as_ref().filter(|_| report.fault != before) {
            tracing::error!(reason, "plugins directory cannot be read");
        }
        self.lapse_quarantines();
        report.missing = self.note_missing();
        self.publish_conditions();
        report
    }

    async fn listed(&self) -> io::Result<BTreeMap<String, Result<ListedFile, Rejection>>> {
        let known: BTreeSet<String> = {
            let plugins = self.plugins.lock();
            let serving = plugins.iter().filter(|(_, entry)| entry.serving.is_some());
            serving.map(|(name, _)| name.clone()).collect()
        };
        let (directory, name_fault) = (self.plugins_dir.clone(), self.name_fault);
        let list = move || directory::list(&directory, &known, name_fault);
        tokio::task::spawn_blocking(list).await?
    }

    async fn scan_one(
        self: &Arc<Self>,
        name: &str,
        listed: Result<ListedFile, Rejection>,
        scan: Scan,
        settings: &PluginSettings,
    ) -> Scanned {
        match listed {
            Err(rejection) => self.refuse(name, "", &rejection),
            Ok(ListedFile { stamps, .. })
                if scan == Scan::Periodic && self.is_known(name, stamps, settings) =>
            {
                Scanned::Unchanged
            }
            Ok(ListedFile { path, .. }) => self.load_changed(name, &path, scan, settings).await,
        }
    }

    /// Whether neither the files nor what the operator configured for the plugin changed since it was tried, and it need not be
    /// tried again.
    fn is_known(&self, name: &str, stamps: Stamps, settings: &PluginSettings) -> bool {
        let plugins = self.plugins.lock();
        let Some(entry) = plugins.get(name) else {
            return false;
        };
        entry.stamps == stamps
            && self.applied.lock().get(name) == Some(&settings.fingerprint(name))
            && !entry.is_due(Instant::now())
    }

    /// Reads the files of one plugin, and where they differ from what was tried last, takes them through every check.
    async fn load_changed(
        self: &Arc<Self>,
        name: &str,
        path: &Path,
        scan: Scan,
        settings: &PluginSettings,
    ) -> Scanned {
        let bytes_max = settings.limits.file_bytes;
        let path = path.to_owned();
        let read = tokio::task::spawn_blocking(move || directory::read(&path, bytes_max)).await;
        let files = match read {
            Ok(Ok(files)) => files,
            Ok(Err(rejection)) => return self.refuse(name, "", &rejection),
            Err(_) => return Scanned::Unchanged,
        };
        let configured = settings.fingerprint(name);
        let parts = [&files.wasm_digest, &files.manifest, &configured].map(String::as_bytes);
        let digest = directory::digest(&parts);
        let stamps = files.stamps;
        let is_same = {
            let mut plugins = self.plugins.lock();
            let entry = plugins.entry(name.to_owned()).or_default();
            entry.stamps = stamps;
            entry.grants = settings.of_entry(name).grants;
            entry.limits = settings.limits.clone();
            let is_tried_again =
                entry.is_refused() && (scan == Scan::Requested || entry.is_due(Instant::now()));
            let serving = entry.serving.as_ref();
            let is_in_force = serving.is_some_and(|serving| serving.digest == digest);
            if is_in_force && (entry.candidate.is_some() || entry.rejected_digest().is_some()) {
                entry.return_to_serving();
                entry.tried.clone_from(&digest);
            }
            entry.tried == digest && !is_tried_again
        };
        self.applied.lock().insert(name.to_owned(), configured);
        if is_same {
            return Scanned::Unchanged;
        }
        if let Some(rejection) = self.prepare_trial(name, &digest).await {
            if let Some(entry) = self.plugins.lock().get_mut(name) {
                entry.candidate = None;
                entry.tried.clone_from(&digest);
            }
            return self.refuse(name, &digest, &rejection);
        }
        let begun = Instant::now();
        let copy = self.trials.as_ref().map(|_| KeptCopy {
            wasm: files.wasm.clone(),
            wasm_digest: files.wasm_digest.clone(),
            config: settings.config.get(name).cloned().unwrap_or_default(),
        });
        let loaded = self.load(name, &digest, files, settings).await;
        if let Ok((generation, _)) = &loaded
            && deciding::kind_of(generation.contract().world).is_some()
        {
            self.keep(name, &digest, copy).await;
        }
        let mut plugins = self.plugins.lock();
        let entry = plugins.entry(name.to_owned()).or_default();
        entry.tried.clone_from(&digest);
        match loaded {
            Ok((generation, requested)) => {
                entry.requested = requested;
                entry.numbered = entry.numbered.max(generation.number);
                let generation = Arc::new(generation);
                let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::debug!(plugin = name, elapsed_ms, "plugin generation loaded");
                if let Some(candidate) = self.candidate(&generation) {
                    entry.offer(candidate);
                    return Scanned::Offered;
                }
                entry.candidate = None;
                let event = entry.swap(Arc::clone(&generation));
                drop(plugins);
                self.note_in_force(&generation);
                self.emit(event);
                Scanned::Swapped
            }
            Err(rejection) => {
                drop(plugins);
                self.refuse(name, &digest, &rejection)
            }
        }
    }

    async fn load(
        &self,
        name: &str,
        digest: &str,
        files: Files,
        settings: &PluginSettings,
    ) -> Result<(Generation, Grants), Rejection> {
        let EntrySettings {
            config_path,
            config,
            sink,
            ..
        } = settings.of_entry(name);
        let plugin = sink.map_or(name, |sink| &sink.plugin);
        let manifest = Manifest::parse(plugin, &files.manifest)?;
        let is_served = |world: &String| {
            let mut served = self.machine.served.iter();
            served.any(|kind| kind.contract.world == *world)
        };
        if let Some(world) = manifest.world.as_ref().filter(|world| !is_served(world)) {
            return Err(Rejection::new(
                "wrong_world",
                format!(
                    "its manifest says that it is for the world {world}; this version serves {}",
                    contract::worlds(self.machine.served)
                ),
            ));
        }
        let refused = |fault| Rejection::new(REFUSED_CONFIG, fault);
        if let Some(sink) = sink {
            manifest.check_secrets(name, sink).map_err(refused)?;
        }
        let empty = toml::Table::new();
        let flattened = settings::flatten(config.unwrap_or(&empty)).map_err(refused)?;
        let egress = match sink {
            Some(sink) => Some(open_egress(sink.egress.clone()).await?),
            None => None,
        };
        let wasm_digest = files.wasm_digest;
        let generation = Generation::load(
            Arc::clone(&self.machine),
            GenerationParts {
                plugin: name.into(),
                number: self.next_generation(name),
                digest: digest.to_owned(),
                wasm: files.wasm,
                wasm_digest: wasm_digest.clone(),
                settings: flattened,
                config_path,
                egress,
                limits: settings.limits.clone(),
                values: self.values.of(name).await,
                before: self.compiled(&wasm_digest),
            },
        )
        .await?;
        let world = generation.contract().world;
        if let Some(other) = manifest.world.as_ref().filter(|other| *other != world) {
            return Err(Rejection::new(
                "wrong_world",
                format!(
                    "its manifest says that it is for the world {other}, and the file was built for {world}"
                ),
            ));
        }
        Ok((generation, manifest.requested(sink)))
    }

    fn next_generation(&self, name: &str) -> u64 {
        let plugins = self.plugins.lock();
        plugins.get(name).map_or(0, |entry| entry.numbered) + 1
    }

    /// What the same file was compiled to, for whichever entry.
    fn compiled(&self, wasm_digest: &str) -> Option<Compiled> {
        let plugins = self.plugins.lock();
        let serving = plugins.values().filter_map(|entry| entry.serving.as_ref());
        let mut compiled = serving.map(|serving| serving.compiled());
        compiled.find(|compiled| compiled.is_of(wasm_digest))
    }

    fn refuse(&self, name: &str, digest: &str, rejection: &Rejection) -> Scanned {
        let event = {
            let mut plugins = self.plugins.lock();
            let entry = plugins.entry(name.to_owned()).or_default();
            if digest.is_empty() {
                // It was not read, so it is tried at each scan.
                entry.tried.clear();
            }
            entry.refuse(name, digest, rejection)
        };
        if let Some(event) = event {
            self.emit(event);
        }
        Scanned::Refused(rejection.reason.clone())
    }

    /// Removes plugins whose file has been missing for long enough to be gone.
    fn remove_missing<T>(&self, found: &BTreeMap<String, T>, report: &mut PluginReload) {
        let mut gone = Vec::new();
        {
            let mut plugins = self.plugins.lock();
            plugins.retain(|name, entry| {
                if self.is_former_sink(name) {
                    gone.push((name.clone(), entry.serving.is_some()));
                    return false;
                }
                if found.contains_key(name) {
                    entry.missing_since = None;
                    return true;
                }
                let since = *entry.missing_since.get_or_insert_with(Instant::now);
                let stays = since.elapsed() < MISSING_FOR;
                if !stays {
                    gone.push((name.clone(), entry.serving.is_some()));
                }
                stays
            });
        }
        for (plugin, has_served) in gone {
            self.applied.lock().remove(&plugin);
            if let Some(trials) = self.trials.clone() {
                let gone = plugin.clone();
                let drop_copies = move || trials.drop_copies(&gone);
                self.machine.runtime.spawn_blocking(drop_copies);
            }
            report.removed.push(plugin.clone());
            if has_served {
                self.emit(EngineEvent::Removed { plugin });
            }
        }
    }
}

/// Opens the egress of a sink, which reads certificates.
async fn open_egress(options: EgressOptions) -> Result<Egress, Rejection> {
    let opened = tokio::task::spawn_blocking(move || Egress::open(options)).await;
    let opened = opened.map_err(|error| Rejection::new(INTERNAL, error.to_string()))?;
    opened.map_err(|fault| Rejection::new(REFUSED_CONFIG, fault.to_string()))
}
