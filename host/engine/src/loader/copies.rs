//! Copies of generations: kept of what is loaded, and loaded where what was in force before is to be again.

use std::{io, sync::Arc};

use crate::{
    generation::{Generation, GenerationParts},
    rejection::Rejection,
    settings,
    shared::EngineShared,
    trials::{DigestState, KeptCopy},
};

impl EngineShared {
    /// Before a generation is loaded that was held, or rejected: where none is in force, the last one that was is again. Returns why
    /// it is not loaded at all.
    pub(super) async fn prepare_trial(
        self: &Arc<Self>,
        name: &str,
        digest: &str,
    ) -> Option<Rejection> {
        match self.trials.as_ref()?.state_of(name, digest) {
            // A new one is tried in a moment, while the built-in rule answers.
            DigestState::Unknown | DigestState::Accepted => None,
            DigestState::Held(_) => {
                self.fall_back(name, digest).await;
                None
            }
            DigestState::Rejected => {
                self.fall_back(name, digest).await;
                Some(Rejection::by_operator())
            }
        }
    }

    /// Keeps a copy of what was loaded, to return to it once its file is another one.
    pub(super) async fn keep(&self, name: &str, digest: &str, copy: Option<KeptCopy>) {
        let Some((trials, copy)) = self.trials.clone().zip(copy) else {
            return;
        };
        let (plugin, digest) = (name.to_owned(), digest.to_owned());
        let keep = move || trials.keep(&plugin, &digest, &copy);
        let kept = tokio::task::spawn_blocking(keep).await;
        if let Err(error) = kept.map_err(io::Error::other).and_then(|kept| kept) {
            tracing::error!(plugin = name, error = %error, "copy of a plugin not written");
        }
    }

    /// Loads the copy of a generation that was in force.
    pub(crate) async fn load_copy(&self, name: &str, digest: &str) -> Result<Generation, String> {
        let settings = self.settings.lock().clone();
        let (trials, bytes_max) = (self.trials.clone(), settings.limits.file_bytes);
        let (plugin, of) = (name.to_owned(), digest.to_owned());
        let read = move || match trials {
            Some(trials) => trials.copy(&plugin, &of, bytes_max),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let read = tokio::task::spawn_blocking(read).await;
        let copy = read.map_err(io::Error::other).and_then(|read| read);
        let KeptCopy {
            wasm,
            wasm_digest,
            config,
        } = copy.map_err(|error| error.to_string())?;
        let generation = Generation::load(
            Arc::clone(&self.machine),
            GenerationParts {
                plugin: name.into(),
                number: self.next_generation(name),
                digest: digest.to_owned(),
                wasm,
                wasm_digest,
                settings: settings::flatten(&config)?,
                config_path: format!("plugins.config.{name}"),
                egress: None,
                limits: settings.limits,
                values: self.values.of(name).await,
                before: None,
            },
        )
        .await;
        let generation = generation.map_err(|rejection| rejection.reason)?;
        if let Some(entry) = self.plugins.lock().get_mut(name) {
            entry.numbered = entry.numbered.max(generation.number);
        }
        Ok(generation)
    }
}
