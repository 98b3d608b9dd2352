//! Sessions that clients ended, kept for the next router: a line each in a small file of the data directory, written by a
//! thread of its own. Without it the next router would take their ids, whose seals are good, for valid ones.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::JoinHandle,
    time::{SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use router_proxy::{RevocationStore, RevokedSession};
use router_values::durable;

/// Where they are, in the data directory.
const FILE: &str = "sessions.ended";

/// Sessions that are kept at most: as many as the proxy remembers, some 6 MB of text.
const KEPT_MAX: usize = 100_000;

/// Sessions that may wait for the disk. One more is not written, which is logged: the next router would accept it.
const WAITING_MAX: usize = 4096;

/// See the module. Closed when it is dropped: what waits is written before.
pub(crate) struct RevokedSessions {
    loaded: Mutex<Vec<RevokedSession>>,
    waiting: Mutex<Option<SyncSender<RevokedSession>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl RevokedSessions {
    /// Reads the file of a data directory, leaves out what has expired, and is ready for more. A file that cannot be read is
    /// begun anew: it says only what is not valid any more.
    pub(crate) fn open(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(FILE);
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                tracing::warn!(path = %path.display(), error = %error, "revoked sessions not read");
                String::new()
            }
        };
        let now = unix_now();
        let mut loaded: Vec<RevokedSession> = text
            .lines()
            .filter_map(parse)
            .filter(|session| session.expires_unix_s > now)
            .collect();
        loaded.sort_unstable();
        loaded.drain(..loaded.len().saturating_sub(KEPT_MAX));
        let file = rewritten(&path, &loaded)?;
        let (waiting, sessions) = sync_channel(WAITING_MAX);
        let writer = std::thread::Builder::new()
            .name("revoked".to_owned())
            .spawn(move || write_all(file, &path, &sessions))?;
        Ok(Self {
            loaded: Mutex::new(loaded),
            waiting: Mutex::new(Some(waiting)),
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Waits until everything is written. Nothing is taken after it.
    pub(crate) fn close(&self) {
        drop(self.waiting.lock().take());
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("writer of revoked sessions panicked");
        }
    }
}

impl Drop for RevokedSessions {
    fn drop(&mut self) {
        self.close();
    }
}

impl RevocationStore for RevokedSessions {
    fn load(&self) -> Vec<RevokedSession> {
        std::mem::take(&mut self.loaded.lock())
    }

    fn add(&self, session: RevokedSession) {
        let waiting = self.waiting.lock();
        let is_kept = waiting
            .as_ref()
            .is_some_and(|waiting| waiting.try_send(session).is_ok());
        if !is_kept {
            tracing::warn!("revoked session not written: too many wait for the disk");
        }
    }
}

fn write_all(mut file: File, path: &Path, sessions: &Receiver<RevokedSession>) {
    let mut has_failed = false;
    while let Ok(session) = sessions.recv() {
        // A process that dies loses nothing that was handed to the system; a power cut may cost the last of them.
        let written = file.write_all(line(&session).as_bytes());
        if let Err(error) = &written
            && !has_failed
        {
            tracing::error!(path = %path.display(), error = %error, "revoked sessions not written");
        }
        has_failed = written.is_err();
    }
}

/// The file with these sessions and no others, open for more.
fn rewritten(path: &Path, sessions: &[RevokedSession]) -> io::Result<File> {
    let text: String = sessions.iter().map(line).collect();
    durable::replace(path, durable::OWNER_ONLY, text.as_bytes())?;
    OpenOptions::new().append(true).open(path)
}

fn line(session: &RevokedSession) -> String {
    let nonce: String = session
        .nonce
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{} {nonce}\n", session.expires_unix_s)
}

/// A line that was cut short by the end of its writer is none.
fn parse(line: &str) -> Option<RevokedSession> {
    let (expires, hex) = line.split_once(' ')?;
    let mut nonce = [0; 16];
    if hex.len() != 2 * nonce.len() {
        return None;
    }
    for (at, byte) in nonce.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(RevokedSession {
        expires_unix_s: expires.parse().ok()?,
        nonce,
    })
}

fn unix_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use router_proxy::{RevocationStore as _, RevokedSession};

    use super::{FILE, RevokedSessions, unix_now};

    fn session(lives_s: u64, name: u8) -> RevokedSession {
        RevokedSession {
            expires_unix_s: unix_now() + lives_s,
            nonce: [name; 16],
        }
    }

    #[test]
    fn what_was_ended_is_known_to_the_next_router_until_it_expires() {
        let dir = tempfile::tempdir().unwrap();
        let (long, gone) = (session(1_000, 0xa1), session(0, 2));
        let first = RevokedSessions::open(dir.path()).unwrap();
        assert_eq!(first.load(), []);
        first.add(long);
        first.add(gone);
        first.close();
        // The last line of a writer that was killed.
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(dir.path().join(FILE))
            .unwrap();
        file.write_all(b"99999999999 a1a1").unwrap();
        let second = RevokedSessions::open(dir.path()).unwrap();
        assert_eq!(second.load(), [long]);
        drop(second);
        assert_eq!(RevokedSessions::open(dir.path()).unwrap().load(), [long]);
    }
}
