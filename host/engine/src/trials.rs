//! What is remembered of generations over restarts: which one of each plugin was in force and which one before it, which ones
//! operators confirmed or rejected, and which one is held; by digest. Kept with it are copies of the two that were in force, for
//! their files in the plugins directory have been replaced.

mod copies;

use std::{collections::BTreeMap, fs, io, path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use router_core::policy::Holding;
use router_values::durable;
use serde::{Deserialize, Serialize};

pub(crate) use copies::KeptCopy;

/// Digests of one plugin that operators have decided about, and that are remembered. The oldest goes first; its file is tried
/// again, should it come back.
const DECIDED_MAX: usize = 32;

/// Plugins that something is remembered of: four times as many as there may be at once.
const PLUGINS_KNOWN_MAX: usize = 256;

/// Where the file is, in the directory of trials.
const FILE: &str = "generations.json";

/// What is known of a digest.
#[derive(Debug, Clone)]
pub(crate) enum DigestState {
    /// Nothing: it is to be tried.
    Unknown,
    /// It was in force when the router ended, or an operator confirmed it.
    Accepted,
    Rejected,
    Held(HeldRecord),
}

/// A generation that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldRecord {
    digest: String,
    /// Since when, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    reason: String,
    changes: Vec<String>,
}

impl HeldRecord {
    pub(crate) fn holding(&self) -> Arc<Holding> {
        Arc::new(Holding {
            reason: self.reason.clone(),
            changes: self.changes.clone(),
        })
    }
}

/// What is remembered of one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Remembered {
    in_force: Option<String>,
    before: Option<String>,
    confirmed: Vec<String>,
    rejected: Vec<String>,
    held: Option<HeldRecord>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct TrialRecords {
    dir: PathBuf,
    plugins: Mutex<BTreeMap<String, Remembered>>,
    /// Held by who writes the file: the last to write has the newest.
    writing: Mutex<()>,
}

impl TrialRecords {
    /// Reads what a directory holds. Where that cannot be read it is begun anew: every generation is tried again, and operators
    /// decide again.
    pub(crate) fn open(dir: PathBuf) -> Self {
        let read = fs::read(dir.join(FILE));
        let plugins = read.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        let plugins = plugins.unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                let path = dir.join(FILE);
                tracing::error!(path = %path.display(), error = %error, "decisions about plugins not read");
            }
            BTreeMap::new()
        });
        Self {
            dir,
            plugins: Mutex::new(plugins),
            writing: Mutex::default(),
        }
    }

    pub(crate) fn state_of(&self, plugin: &str, digest: &str) -> DigestState {
        let plugins = self.plugins.lock();
        let Some(known) = plugins.get(plugin) else {
            return DigestState::Unknown;
        };
        let has = |digests: &[String]| digests.iter().any(|one| one == digest);
        if has(&known.rejected) {
            return DigestState::Rejected;
        }
        let held = known.held.clone();
        if let Some(held) = held.filter(|held| held.digest == digest) {
            return DigestState::Held(held);
        }
        if has(&known.confirmed) || known.in_force.as_deref() == Some(digest) {
            return DigestState::Accepted;
        }
        DigestState::Unknown
    }

    pub(crate) fn is_confirmed(&self, plugin: &str, digest: &str) -> bool {
        let plugins = self.plugins.lock();
        let known = plugins.get(plugin);
        known.is_some_and(|known| known.confirmed.iter().any(|one| one == digest))
    }

    /// The generation to return to from one of this digest: the one that is, or was before it, in force.
    pub(crate) fn fallback(&self, plugin: &str, from: &str) -> Option<String> {
        let plugins = self.plugins.lock();
        let known = plugins.get(plugin)?;
        let mut all = known.in_force.iter().chain(&known.before);
        let is_other = |digest: &&String| *digest != from && !known.rejected.contains(digest);
        all.find(is_other).cloned()
    }

    /// A generation is in force.
    pub(crate) fn note_in_force(&self, plugin: &str, digest: &str) {
        self.change(plugin, |known| {
            if known.in_force.as_deref() != Some(digest) {
                known.before = known.in_force.replace(digest.to_owned());
            }
            known.held.take_if(|held| held.digest == digest);
        });
    }

    /// A generation is held; where it was in force, it is not any more.
    pub(crate) fn note_held(&self, plugin: &str, digest: &str, holding: &Holding, at_ms: u64) {
        self.change(plugin, |known| {
            known.held = Some(HeldRecord {
                digest: digest.to_owned(),
                at_ms,
                reason: holding.reason.clone(),
                changes: holding.changes.clone(),
            });
            known.leave(digest);
        });
    }

    pub(crate) fn confirm(&self, plugin: &str, digest: &str) {
        self.change(plugin, |known| {
            known.rejected.retain(|one| one != digest);
            known.held.take_if(|held| held.digest == digest);
            remember(&mut known.confirmed, digest);
        });
    }

    pub(crate) fn reject(&self, plugin: &str, digest: &str) {
        self.change(plugin, |known| {
            known.confirmed.retain(|one| one != digest);
            known.held.take_if(|held| held.digest == digest);
            known.leave(digest);
            remember(&mut known.rejected, digest);
        });
    }

    /// What is known of a plugin, to be put back where a decision cannot be written.
    pub(crate) fn get(&self, plugin: &str) -> Remembered {
        let plugins = self.plugins.lock();
        plugins.get(plugin).cloned().unwrap_or_default()
    }

    pub(crate) fn put_back(&self, plugin: &str, known: Remembered) {
        self.plugins.lock().insert(plugin.to_owned(), known);
    }

    fn change(&self, plugin: &str, change: impl FnOnce(&mut Remembered)) {
        let mut plugins = self.plugins.lock();
        change(plugins.entry(plugin.to_owned()).or_default());
        // Nobody has decided anything about the first to go.
        for only_undecided in [true, false] {
            let too_many = plugins.len().saturating_sub(PLUGINS_KNOWN_MAX);
            let names = plugins
                .iter()
                .filter(|(name, known)| *name != plugin && !(only_undecided && known.is_decided()));
            let gone: Vec<String> = names.take(too_many).map(|(name, _)| name.clone()).collect();
            for name in gone {
                plugins.remove(&name);
            }
        }
    }

    /// Writes what is known now. It waits for the disk.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn save(&self) -> io::Result<()> {
        let _one_at_a_time = self.writing.lock();
        let mut text = serde_json::to_vec_pretty(&*self.plugins.lock())?;
        text.push(b'\n');
        fs::create_dir_all(&self.dir)?;
        durable::replace(&self.dir.join(FILE), durable::OWNER_ONLY, &text)
    }

    /// The same where nobody waits for it.
    pub(crate) fn save_or_log(&self) {
        if let Err(error) = self.save() {
            let path = self.dir.join(FILE);
            tracing::error!(path = %path.display(), error = %error, "decisions about plugins not written");
        }
    }
}

impl Remembered {
    fn is_decided(&self) -> bool {
        self.held.is_some() || !self.confirmed.is_empty() || !self.rejected.is_empty()
    }

    /// A generation is not in force any more: the one before it is.
    fn leave(&mut self, digest: &str) {
        self.before.take_if(|one| one == digest);
        if self.in_force.take_if(|one| one == digest).is_some() {
            self.in_force = self.before.take();
        }
    }
}

fn remember(digests: &mut Vec<String>, digest: &str) {
    digests.retain(|one| one != digest);
    digests.push(digest.to_owned());
    let too_many = digests.len().saturating_sub(DECIDED_MAX);
    digests.drain(..too_many);
}

#[cfg(test)]
mod tests {
    use router_core::policy::Holding;

    use super::{DECIDED_MAX, DigestState, PLUGINS_KNOWN_MAX, TrialRecords};

    #[test]
    fn what_was_decided_is_known_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trials");
        let first = TrialRecords::open(path.clone());
        assert!(matches!(first.state_of("p", "1"), DigestState::Unknown));
        first.note_in_force("p", "1");
        first.note_in_force("p", "2");
        assert_eq!(first.fallback("p", "3").as_deref(), Some("2"));
        assert_eq!(first.fallback("p", "2").as_deref(), Some("1"));
        let holding = Holding {
            reason: "it would recycle all".to_owned(),
            changes: vec!["demo: unhealthy".to_owned()],
        };
        // It changed its mind: the one before is in force.
        first.note_held("p", "2", &holding, 7);
        first.save().unwrap();
        let second = TrialRecords::open(path.clone());
        let DigestState::Held(held) = second.state_of("p", "2") else {
            panic!("{second:?}");
        };
        assert_eq!((&*held.holding(), held.at_ms), (&holding, 7));
        assert!(matches!(second.state_of("p", "1"), DigestState::Accepted));
        assert_eq!(second.fallback("p", "2").as_deref(), Some("1"));
        second.reject("p", "2");
        second.confirm("p", "4");
        second.save().unwrap();
        let third = TrialRecords::open(path.clone());
        assert!(matches!(third.state_of("p", "2"), DigestState::Rejected));
        assert!(third.is_confirmed("p", "4") && !third.is_confirmed("p", "1"));
        third.confirm("p", "2");
        assert!(matches!(third.state_of("p", "2"), DigestState::Accepted));
        std::fs::write(path.join(super::FILE), "{half").unwrap();
        assert!(matches!(
            TrialRecords::open(path).state_of("p", "4"),
            DigestState::Unknown
        ));
    }

    #[test]
    fn what_is_remembered_of_plugins_is_bounded_and_decisions_stay_longest() {
        let dir = tempfile::tempdir().unwrap();
        let trials = TrialRecords::open(dir.path().to_owned());
        trials.reject("a", "1");
        for n in 0..=PLUGINS_KNOWN_MAX {
            trials.note_in_force(&format!("p{n:03}"), "1");
        }
        assert_eq!(trials.plugins.lock().len(), PLUGINS_KNOWN_MAX);
        assert!(matches!(trials.state_of("a", "1"), DigestState::Rejected));
        assert!(matches!(trials.state_of("p000", "1"), DigestState::Unknown));
        assert!(matches!(
            trials.state_of("p256", "1"),
            DigestState::Accepted
        ));
    }

    #[test]
    fn decisions_are_bounded_and_the_oldest_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let trials = TrialRecords::open(dir.path().to_owned());
        for n in 0..=DECIDED_MAX {
            trials.reject("p", &n.to_string());
        }
        assert!(matches!(trials.state_of("p", "0"), DigestState::Unknown));
        assert!(matches!(trials.state_of("p", "1"), DigestState::Rejected));
    }
}
