//! Copies of generations that were in force: what they were made of, under the digest of all of it.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use router_values::durable::OWNER_ONLY;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::OpenOptionsExt as _;

use super::TrialRecords;
use crate::directory;

/// What a generation was made of.
#[derive(Debug, Clone)]
pub(crate) struct KeptCopy {
    pub(crate) wasm: Vec<u8>,
    pub(crate) wasm_digest: String,
    pub(crate) config: toml::Table,
}

#[derive(Debug, Serialize, Deserialize)]
struct Beside {
    wasm_digest: String,
    config: toml::Table,
}

impl TrialRecords {
    /// Keeps a copy, and drops those of the plugin that nothing returns to any more. It waits for the disk.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn keep(&self, plugin: &str, digest: &str, copy: &KeptCopy) -> io::Result<()> {
        let dir = self.dir.join(plugin);
        fs::create_dir_all(&dir)?;
        let beside = toml::to_string(&Beside {
            wasm_digest: copy.wasm_digest.clone(),
            config: copy.config.clone(),
        });
        let beside = beside.map_err(io::Error::other)?;
        write(&dir.join(format!("{digest}.wasm")), &copy.wasm)?;
        write(&dir.join(format!("{digest}.toml")), beside.as_bytes())?;
        self.drop_others(plugin, digest, &dir)
    }

    /// Drops all copies of a plugin whose file is gone. It waits for the disk.
    pub(crate) fn drop_copies(&self, plugin: &str) {
        let dir = self.dir.join(plugin);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!(path = %dir.display(), error = %error, "copies of a plugin not removed");
            }
            _ => {}
        }
    }

    fn drop_others(&self, plugin: &str, digest: &str, dir: &Path) -> io::Result<()> {
        let mut kept: BTreeSet<String> = [digest.to_owned()].into();
        if let Some(known) = self.plugins.lock().get(plugin) {
            kept.extend(known.in_force.iter().chain(&known.before).cloned());
        }
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if stem.is_none_or(|stem| !kept.contains(stem)) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Reads a copy. It waits for the disk.
    ///
    /// # Errors
    /// It is not there, or was changed.
    pub(crate) fn copy(&self, plugin: &str, digest: &str, bytes_max: u64) -> io::Result<KeptCopy> {
        let path = self.dir.join(plugin).join(digest);
        let text = fs::read_to_string(path.with_extension("toml"))?;
        let Beside {
            wasm_digest,
            config,
        } = toml::from_str(&text).map_err(io::Error::other)?;
        let wasm = path.with_extension("wasm");
        if fs::metadata(&wasm)?.len() > bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let wasm = fs::read(wasm)?;
        if directory::digest(&[&wasm]) != wasm_digest {
            return Err(io::Error::other("it was changed"));
        }
        Ok(KeptCopy {
            wasm,
            wasm_digest,
            config,
        })
    }
}

/// Whole or not there, unless the power goes: then its digest does not fit, and it is not used.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    let draft: PathBuf = path.with_extension("part");
    let mut options = fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true);
    options.mode(OWNER_ONLY).open(&draft)?.write_all(bytes)?;
    fs::rename(draft, path)
}

#[cfg(test)]
mod tests {
    use super::{KeptCopy, TrialRecords};
    use crate::directory;

    #[test]
    fn the_last_two_are_kept_and_what_was_changed_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let trials = TrialRecords::open(dir.path().to_owned());
        let copy = |n: u8| KeptCopy {
            wasm: vec![n; 100],
            wasm_digest: directory::digest(&[&[n; 100]]),
            config: format!("limit = {n}").parse().unwrap(),
        };
        for n in 1..=3 {
            trials.keep("p", &n.to_string(), &copy(n)).unwrap();
            trials.note_in_force("p", &n.to_string());
        }
        trials.keep("p", "4", &copy(4)).unwrap();
        assert!(trials.copy("p", "1", 100).is_err(), "nothing returns to it");
        let kept = trials.copy("p", "2", 100).unwrap();
        assert_eq!((kept.wasm, kept.config), (copy(2).wasm, copy(2).config));
        assert!(trials.copy("p", "2", 99).is_err());
        std::fs::write(dir.path().join("p/3.wasm"), [7; 100]).unwrap();
        assert!(trials.copy("p", "3", 100).is_err());
        trials.drop_copies("p");
        trials.drop_copies("p");
        assert!(trials.copy("p", "2", 100).is_err());
    }
}
