//! Reloading: a look at the directory, and each new candidate on its way into service. A bad one leaves the one before.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Deserialize;

use crate::{
    Grants, PluginSettings,
    contract::Misfit,
    directory::{self, Files, Listed, Stamps},
    engine::{ReloadReport, Shared},
    generation::{Candidate, Compiled, Generation},
    registry::EngineEvent,
    settings,
};

/// A file that is replaced by removing and writing it is missing for a moment; so long the plugin goes on without its file.
const MISSING_FOR: Duration = Duration::from_secs(5);

/// `NAME.toml`: what a plugin asks for. It only asks: the operator grants.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// The world that it is for; only compared with the file.
    world: Option<String>,
    #[serde(default)]
    requests: Requests,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Requests {
    #[serde(default)]
    http: Vec<String>,
    #[serde(default)]
    secrets: Vec<String>,
}

/// Why the directory is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// By itself: what is as it was is left alone, and a refused candidate is tried again when its time has come.
    Round,
    /// Somebody asked for it: every file is read, and every refused candidate tried again.
    Asked,
}

impl Shared {
    /// Looks at the directory, loads what is new, and lets go of what is gone.
    pub(crate) async fn look(self: &Arc<Self>, look: Look) -> ReloadReport {
        let _one_at_a_time = self.looking.lock().await;
        let settings = self.settings.lock().clone();
        let mut report = ReloadReport::default();
        match self.listed().await {
            Ok(found) => {
                self.let_go(&found, &mut report);
                for (name, listed) in found {
                    match self.look_at(&name, listed, look, &settings).await {
                        Looked::Same => report.unchanged.push(name),
                        Looked::Swapped => report.loaded.push(name),
                        Looked::Refused(reason) => {
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
            tracing::error!(reason, "the plugins directory cannot be read");
        }
        self.lapse();
        report.missing = self.note_missing();
        report
    }

    async fn listed(&self) -> io::Result<BTreeMap<String, Result<Listed, Misfit>>> {
        let known: BTreeSet<String> = {
            let plugins = self.plugins.lock();
            let serving = plugins.iter().filter(|(_, entry)| entry.serving.is_some());
            serving.map(|(name, _)| name.clone()).collect()
        };
        let (directory, name_fault) = (self.plugins_dir.clone(), self.name_fault);
        let list = move || directory::list(&directory, &known, name_fault);
        tokio::task::spawn_blocking(list).await?
    }

    async fn look_at(
        self: &Arc<Self>,
        name: &str,
        listed: Result<Listed, Misfit>,
        look: Look,
        settings: &PluginSettings,
    ) -> Looked {
        match listed {
            Err(misfit) => self.refuse(name, "", &misfit),
            Ok(Listed { stamps, .. })
                if look == Look::Round && self.is_known(name, stamps, settings) =>
            {
                Looked::Same
            }
            Ok(Listed { path, .. }) => self.consider(name, &path, look, settings).await,
        }
    }

    /// Whether neither the files nor what the operator says about the plugin changed since it was looked at, and it need not be
    /// tried again.
    fn is_known(&self, name: &str, stamps: Stamps, settings: &PluginSettings) -> bool {
        let plugins = self.plugins.lock();
        let Some(entry) = plugins.get(name) else {
            return false;
        };
        entry.stamps == stamps
            && self.applied.lock().get(name) == Some(&told(settings, name))
            && !entry.is_due(Instant::now())
    }

    /// Ends quarantines that nobody asks about.
    pub(crate) fn lapse(&self) {
        let policies = self.policies.lock().clone();
        let now = Instant::now();
        let mut lapsed = Vec::new();
        for (name, entry) in self.plugins.lock().iter_mut() {
            if entry.lapse(is_in_use(policies.as_ref(), name), now) {
                lapsed.push(name.clone());
            }
        }
        for plugin in lapsed {
            self.tell(EngineEvent::Lapsed { plugin });
        }
    }

    /// Notes which plugins policies name that are not there, and tells each once.
    pub(crate) fn note_missing(&self) -> BTreeSet<String> {
        let policies = self.policies.lock().clone().unwrap_or_default();
        let missing: BTreeSet<String> = {
            let plugins = self.plugins.lock();
            let missing = policies.into_iter();
            missing.filter(|name| !plugins.contains_key(name)).collect()
        };
        let before = self.missing.lock().replace(missing.clone());
        for plugin in missing.difference(&before.unwrap_or_default()) {
            self.tell(EngineEvent::Missing {
                plugin: plugin.clone(),
            });
        }
        missing
    }

    /// Takes one candidate through every check.
    async fn consider(
        self: &Arc<Self>,
        name: &str,
        path: &Path,
        look: Look,
        settings: &PluginSettings,
    ) -> Looked {
        let bytes_max = settings.limits.file_bytes;
        let path = path.to_owned();
        let read = tokio::task::spawn_blocking(move || directory::read(&path, bytes_max)).await;
        let files = match read {
            Ok(Ok(files)) => files,
            Ok(Err(misfit)) => return self.refuse(name, "", &misfit),
            Err(_) => return Looked::Same,
        };
        let told = told(settings, name);
        let parts = [&files.wasm_digest, &files.manifest, &told].map(String::as_bytes);
        let digest = directory::digest(&parts);
        let stamps = files.stamps;
        let is_same = {
            let mut plugins = self.plugins.lock();
            let entry = plugins.entry(name.to_owned()).or_default();
            entry.stamps = stamps;
            entry.grants = settings.grants.get(name).cloned().unwrap_or_default();
            entry.limits = settings.limits.clone();
            let is_tried_again =
                entry.is_refused() && (look == Look::Asked || entry.is_due(Instant::now()));
            entry.looked_at == digest && !is_tried_again
        };
        self.applied.lock().insert(name.to_owned(), told);
        if is_same {
            return Looked::Same;
        }
        let begun = Instant::now();
        let loaded = self.load(name, &digest, files, settings).await;
        let mut plugins = self.plugins.lock();
        let entry = plugins.entry(name.to_owned()).or_default();
        entry.looked_at.clone_from(&digest);
        match loaded {
            Ok((generation, requested)) => {
                entry.requested = requested;
                let event = entry.swap(Arc::new(generation));
                let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::debug!(plugin = name, elapsed_ms, "a generation was made");
                drop(plugins);
                self.tell(event);
                Looked::Swapped
            }
            Err(misfit) => {
                drop(plugins);
                self.refuse(name, &digest, &misfit)
            }
        }
    }

    async fn load(
        &self,
        name: &str,
        digest: &str,
        files: Files,
        settings: &PluginSettings,
    ) -> Result<(Generation, Grants), Misfit> {
        let manifest: Manifest = toml::from_str(&files.manifest).map_err(|error| {
            Misfit::new(
                "manifest",
                format!("its manifest {name}.toml is faulty: {error}"),
            )
        })?;
        if let Some(world) = manifest.world.filter(|world| world != crate::WORLD_SERVED) {
            return Err(Misfit::new(
                "wrong_world",
                format!(
                    "its manifest says that it is for the world {world}; this version serves {}",
                    crate::WORLD_SERVED
                ),
            ));
        }
        let empty = toml::Table::new();
        let config = settings.config.get(name).unwrap_or(&empty);
        let settings_told =
            settings::flatten(config).map_err(|words| Misfit::new("refused_config", words))?;
        let generation = Generation::load(
            Arc::clone(&self.machine),
            Candidate {
                plugin: name.into(),
                number: self.next_generation(name),
                digest: digest.to_owned(),
                wasm: files.wasm,
                wasm_digest: files.wasm_digest,
                settings: settings_told,
                limits: settings.limits.clone(),
                values: self.values.of(name).await,
                before: self.compiled(name),
            },
        )
        .await?;
        let requested = Grants {
            http: manifest.requests.http,
            secrets: manifest.requests.secrets,
        };
        Ok((generation, requested))
    }

    fn next_generation(&self, name: &str) -> u64 {
        let plugins = self.plugins.lock();
        let serving = plugins.get(name).and_then(|entry| entry.serving.as_ref());
        serving.map_or(1, |serving| serving.number + 1)
    }

    fn compiled(&self, name: &str) -> Option<Compiled> {
        let plugins = self.plugins.lock();
        Some(plugins.get(name)?.serving.as_ref()?.compiled())
    }

    fn refuse(&self, name: &str, digest: &str, misfit: &Misfit) -> Looked {
        let event = {
            let mut plugins = self.plugins.lock();
            let entry = plugins.entry(name.to_owned()).or_default();
            if digest.is_empty() {
                // It was not read, so it is tried at each look.
                entry.looked_at.clear();
            }
            entry.refuse(name, digest, misfit)
        };
        if let Some(event) = event {
            self.tell(event);
        }
        Looked::Refused(misfit.words.clone())
    }

    /// Lets go of plugins whose file has been missing for long enough to be gone.
    fn let_go<T>(&self, found: &BTreeMap<String, T>, report: &mut ReloadReport) {
        let mut gone = Vec::new();
        {
            let mut plugins = self.plugins.lock();
            plugins.retain(|name, entry| {
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
            report.removed.push(plugin.clone());
            if has_served {
                self.tell(EngineEvent::Removed { plugin });
            }
        }
    }
}

/// What came of a look at one plugin.
enum Looked {
    Same,
    Swapped,
    Refused(String),
}

/// Whether a policy names a plugin.
pub(crate) fn is_in_use(policies: Option<&BTreeSet<String>>, name: &str) -> bool {
    policies.is_none_or(|policies| policies.contains(name))
}

/// What the operator says about a plugin, as text that changes when any of it does.
fn told(settings: &PluginSettings, name: &str) -> String {
    let config = settings.config.get(name);
    let grants = settings.grants.get(name);
    let limits = &settings.limits;
    serde_json::json!({ "config": config, "grants": grants, "limits": limits }).to_string()
}
