//! The key that session ids are sealed with: given, or kept in a file that is made once.
//!
//! Losing the key ends the sessions of an earlier router, nothing more; leaking it lets others make session ids, which still need
//! the role client to be used.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{TryRng as _, rngs::SysRng};
use sha2::{Digest, Sha256};

/// The name of the key's file in the data directory.
pub const KEY_FILE: &str = "session.key";

/// Shortest text of a key: `openssl rand -hex 16` has 32 characters and 128 bits.
const TEXT_BYTES_MIN: usize = 32;

/// Longest text of a key that is read; a longer file is not a key.
const TEXT_BYTES_MAX: usize = 4_096;

/// A key for sealing.
#[derive(Clone)]
pub struct SessionKey([u8; 32]);

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
    /// A text or file that is too short, too long, or holds spaces.
    #[error(
        "{subject} holds no key: expected {TEXT_BYTES_MIN} to {TEXT_BYTES_MAX} visible characters, as `openssl rand -hex 32` prints; a damaged file may be removed, which ends all sessions"
    )]
    Unusable {
        /// Which file, or `the given session key`.
        subject: String,
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

impl SessionKey {
    /// The key that a text stands for. Any visible text will do, surrounding white space is dropped; its strength is the strength of
    /// the key, so it should come from a random generator.
    ///
    /// # Errors
    /// [`KeyError::Unusable`], naming `the given session key`, never its text.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        Self::derive(text).ok_or_else(|| KeyError::Unusable {
            subject: "the given session key".into(),
        })
    }

    /// Reads [`KEY_FILE`] in a directory, or makes it: 0600, whole or not at all, and the same key for two routers that race.
    ///
    /// # Errors
    /// The file is unreadable, damaged or exposed, or cannot be written.
    pub fn load_or_create(data_dir: &Path) -> Result<LoadedKey, KeyError> {
        let path = data_dir.join(KEY_FILE);
        if let Some(key) = read(&path)? {
            return Ok(LoadedKey { key, is_new: false });
        }
        let is_new = create(data_dir, &path)?;
        // Read back what is there now: a router that raced us may have been first.
        let key = read(&path)?.ok_or_else(|| KeyError::Io {
            operation: "read",
            path,
            source: io::ErrorKind::NotFound.into(),
        })?;
        Ok(LoadedKey { key, is_new })
    }

    fn derive(text: &str) -> Option<Self> {
        let text = text.trim();
        let length_is_fine = (TEXT_BYTES_MIN..=TEXT_BYTES_MAX).contains(&text.len());
        let visible = text.bytes().all(|b| b.is_ascii_graphic());
        // Never all one character, as in a file of zeros or a placeholder.
        let varied = text.bytes().any(|b| Some(b) != text.bytes().next());
        (length_is_fine && visible && varied).then(|| {
            let mut hash = Sha256::new();
            hash.update(b"godot-mcp-router session key\0");
            hash.update(text.as_bytes());
            Self(hash.finalize().into())
        })
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A key is never shown.
impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(…)")
    }
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
    let limit = TEXT_BYTES_MAX as u64 + 1;
    file.take(limit).read_to_end(&mut text).map_err(failed)?;
    std::str::from_utf8(&text)
        .ok()
        .and_then(SessionKey::derive)
        .map(Some)
        .ok_or_else(|| KeyError::Unusable {
            subject: path.display().to_string(),
        })
}

/// Writes a whole file beside the final name, then gives it that name unless it is taken. Whether it was not.
fn create(data_dir: &Path, path: &Path) -> Result<bool, KeyError> {
    let mut bytes = [0_u8; 32 + 8];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(KeyError::Randomness)?;
    let (secret, salt) = bytes.split_at(32);
    let draft = data_dir.join(format!(".{KEY_FILE}.{}", URL_SAFE_NO_PAD.encode(salt)));
    let written = write_draft(&draft, secret).and_then(|()| match fs::hard_link(&draft, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    });
    // The draft holds the key: it goes, whatever happened.
    let removed = match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    written
        .and_then(|is_new| removed.map(|()| is_new))
        .and_then(|is_new| File::open(data_dir)?.sync_all().map(|()| is_new))
        .map_err(|source| KeyError::Io {
            operation: "write",
            path: path.to_owned(),
            source,
        })
}

fn write_draft(draft: &Path, secret: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)?;
    file.write_all(format!("{}\n", URL_SAFE_NO_PAD.encode(secret)).as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
