//! Reloading: a look at the directory, and each new candidate on its way into service. A bad one leaves the one before.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Deserialize;

use crate::{
    Grants, PluginSettings,
    contract::Misfit,
    directory::{self, Files, Stamps},
    engine::{ReloadReport, Shared},
    generation::{Candidate, Generation},
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

impl Shared {
    /// Looks at the directory, loads what is new, and lets go of what is gone.
    pub(crate) async fn look(self: &Arc<Self>) -> ReloadReport {
        let _one_at_a_time = self.looking.lock().await;
        let settings = self.settings.lock().clone();
        let directory = self.plugins_dir.clone();
        let listed = tokio::task::spawn_blocking(move || directory::list(&directory)).await;
        let mut report = ReloadReport::default();
        let found = match listed {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::warn!(error = %error, "the plugins directory cannot be read");
                return report;
            }
            Err(_) => return report,
        };
        self.let_go(&found, &mut report);
        for (name, (path, stamps)) in found {
            if self.is_known(&name, stamps, &settings) {
                report.unchanged.push(name);
                continue;
            }
            match self.consider(&name, &path, &settings).await {
                Looked::Same => report.unchanged.push(name),
                Looked::Swapped => report.loaded.push(name),
                Looked::Refused(reason) => {
                    report.refused.insert(name, reason);
                }
            }
        }
        report
    }

    /// Whether neither the files nor what the operator says about the plugin changed since it was looked at.
    fn is_known(&self, name: &str, stamps: Stamps, settings: &PluginSettings) -> bool {
        let mut plugins = self.plugins.lock();
        let Some(entry) = plugins.get_mut(name) else {
            return false;
        };
        entry.missing_since = None;
        entry.stamps == stamps && self.applied.lock().get(name) == Some(&told(settings, name))
    }

    /// Takes one candidate through every check.
    async fn consider(
        self: &Arc<Self>,
        name: &str,
        path: &Path,
        settings: &PluginSettings,
    ) -> Looked {
        let bytes_max = settings.limits.file_bytes;
        let path: PathBuf = path.to_owned();
        let read = tokio::task::spawn_blocking(move || directory::read(&path, bytes_max)).await;
        let files = match read {
            Ok(Ok(files)) => files,
            Ok(Err(misfit)) => return self.refuse(name, "", &misfit),
            Err(_) => return Looked::Same,
        };
        let told = told(settings, name);
        let digest = directory::digest(&[&files.wasm, files.manifest.as_bytes(), told.as_bytes()]);
        let stamps = files.stamps;
        let is_same = {
            let mut plugins = self.plugins.lock();
            let entry = plugins.entry(name.to_owned()).or_default();
            entry.stamps = stamps;
            entry.grants = settings.grants.get(name).cloned().unwrap_or_default();
            entry.limits = settings.limits.clone();
            entry.looked_at == digest
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
                settings: settings_told,
                limits: settings.limits.clone(),
                values: self.values.of(name).await,
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

    fn refuse(&self, name: &str, digest: &str, misfit: &Misfit) -> Looked {
        let event = {
            let mut plugins = self.plugins.lock();
            let entry = plugins.entry(name.to_owned()).or_default();
            if digest.is_empty() {
                // It was not read, so it is tried at each look; the same reason is told once.
                entry.missing_since = None;
                if entry.is_refused_unread(misfit) {
                    return Looked::Same;
                }
                entry.looked_at.clear();
            }
            entry.refuse(name, digest, misfit)
        };
        self.tell(event);
        Looked::Refused(misfit.words.clone())
    }

    /// Lets go of plugins whose file has been missing for long enough to be gone.
    fn let_go(&self, found: &BTreeMap<String, (PathBuf, Stamps)>, report: &mut ReloadReport) {
        let mut gone = Vec::new();
        {
            let mut plugins = self.plugins.lock();
            plugins.retain(|name, entry| {
                if found.contains_key(name) {
                    return true;
                }
                let since = *entry.missing_since.get_or_insert_with(Instant::now);
                let stays = since.elapsed() < MISSING_FOR;
                if !stays {
                    gone.push(name.clone());
                }
                stays
            });
        }
        for plugin in gone {
            self.applied.lock().remove(&plugin);
            report.removed.push(plugin.clone());
            self.tell(EngineEvent::Removed { plugin });
        }
    }
}

/// What came of a look at one plugin.
enum Looked {
    Same,
    Swapped,
    Refused(String),
}

/// What the operator says about a plugin, as text that changes when any of it does.
fn told(settings: &PluginSettings, name: &str) -> String {
    let config = settings.config.get(name);
    let grants = settings.grants.get(name);
    let limits = &settings.limits;
    serde_json::json!({ "config": config, "grants": grants, "limits": limits }).to_string()
}
