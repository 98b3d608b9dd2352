//! The file of the key that session ids and links to acknowledge by are sealed with: made once, when none is configured.
//!
//! Losing the key ends the sessions of an earlier router and its links, nothing more. Leaking it lets others make session ids, which
//! still need the role client to be used, and links, which acknowledge an alert.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{TryRng as _, rngs::SysRng};
use router_values::{InvalidSessionKey, SessionKey, durable};

/// The name of the key's file in the data directory.
pub const KEY_FILE: &str = "session.key";

/// A key, and whether it was made just now.
#[derive(Debug, Clone)]
pub struct LoadedKey {
    /// The key.
    pub key: SessionKey,
    /// The file was missing and has been written: sessions of an earlier router, if there was one, are over.
    pub is_new: bool,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// What the file holds is no key.
    #[error(
        "{path} holds no key: expected {} to {} visible characters, as `openssl rand -hex 32` prints; a damaged file may be removed, which ends all sessions",
        SessionKey::TEXT_BYTES_MIN,
        SessionKey::TEXT_BYTES_MAX
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with its text.
        #[source]
        source: InvalidSessionKey,
    },
    /// Everybody on the machine can read or replace the file.
    #[error(
        "{path} can be read or written by everybody (mode {mode:03o}): chmod 600 it, or remove it to have a new one made, which ends all sessions"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// An operation on the file failed.
    #[error("cannot {operation} {path}")]
    Io {
        /// What failed: `read`, `write`.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No randomness.
    #[error("the operating system gave no random bytes for a session key")]
    Randomness(#[source] rand::rngs::SysError),
}

/// Reads [`KEY_FILE`] in a directory, or makes it: for its owner only, whole or not at all, and the same key for two routers that
/// race.
///
/// # Errors
/// The file is unreadable, damaged or exposed, or cannot be written.
pub fn load_or_create_key(data_dir: &Path) -> Result<LoadedKey, KeyError> {
    let path = data_dir.join(KEY_FILE);
    if let Some(key) = read(&path)? {
        return Ok(LoadedKey { key, is_new: false });
    }
    let mut secret = [0_u8; 32];
    SysRng
        .try_fill_bytes(&mut secret)
        .map_err(KeyError::Randomness)?;
    let text = format!("{}\n", URL_SAFE_NO_PAD.encode(secret));
    let created = durable::create(&path, durable::OWNER_ONLY, text.as_bytes());
    let is_new = created.map_err(|source| KeyError::Io {
        operation: "write",
        path: path.clone(),
        source,
    })?;
    // Read back what is there now: a router that raced us may have been first.
    let key = read(&path)?.ok_or_else(|| KeyError::Io {
        operation: "read",
        path,
        source: io::ErrorKind::NotFound.into(),
    })?;
    Ok(LoadedKey { key, is_new })
}

fn read(path: &Path) -> Result<Option<SessionKey>, KeyError> {
    let failed = |source| KeyError::Io {
        operation: "read",
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // The group is let through: Kubernetes adds it to every file of a volume with fsGroup, at each mount.
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(KeyError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut text = Vec::new();
    let limit = SessionKey::TEXT_BYTES_MAX as u64 + 1;
    file.take(limit).read_to_end(&mut text).map_err(failed)?;
    // What is not UTF-8 is not visible ASCII either, nor is the sign that stands for it.
    let key = SessionKey::parse(&String::from_utf8_lossy(&text));
    key.map(Some).map_err(|source| KeyError::Unusable {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
