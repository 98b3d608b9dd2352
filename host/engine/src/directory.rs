//! The plugins directory: which files there are, and whether one of them is new. File events are only hints; this is what is true.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use crate::rejection::Rejection;

/// Most plugins: each keeps a store ahead. As many that are refused by their name are listed.
pub(crate) const PLUGINS_MAX: usize = 64;

/// Most files of the directory, which is listed every two seconds.
const ENTRIES_MAX: usize = 10_000;

/// Ten ticks of the slowest common kernel clock (100 Hz).
const SETTLED_AFTER: Duration = Duration::from_millis(100);

/// Longest manifest.
const MANIFEST_BYTES_MAX: u64 = 64 * 1024;

/// What tells whether a file was written since it was last read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Stamp {
    inode: u64,
    bytes: u64,
    mtime_ns: i128,
    ctime_ns: i128,
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let meta = fs::metadata(path)?;
        let ns = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        Ok(Self {
            inode: meta.ino(),
            bytes: meta.len(),
            mtime_ns: ns(meta.mtime(), meta.mtime_nsec()),
            ctime_ns: ns(meta.ctime(), meta.ctime_nsec()),
        })
    }
}

/// The stamps of a plugin's two files; the manifest may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stamps {
    wasm: Stamp,
    manifest: Option<Stamp>,
}

impl Stamps {
    /// Whether a further write would show: file systems keep time in ticks of some milliseconds.
    fn are_settled(&self, now: SystemTime) -> bool {
        let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ns = i128::try_from(since_1970.as_nanos()).unwrap_or(i128::MAX);
        let newest_ns = self.manifest.map_or(self.wasm.ctime_ns, |manifest| {
            manifest.ctime_ns.max(self.wasm.ctime_ns)
        });
        // A time to come is of another clock, and says nothing.
        (now_ns - newest_ns).unsigned_abs() >= SETTLED_AFTER.as_nanos()
    }
}

/// A plugin's files as they were read.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) stamps: Stamps,
    pub(crate) wasm: Vec<u8>,
    /// Taken here, where it holds up no guest.
    pub(crate) wasm_digest: String,
    pub(crate) manifest: String,
}

/// A plugin's file as it was listed.
#[derive(Debug, Clone)]
pub(crate) struct ListedFile {
    pub(crate) path: PathBuf,
    pub(crate) stamps: Stamps,
}

/// The `NAME.wasm` of a directory by name, and why some are not loaded. One that is not there holds none.
///
/// Where there are too many, those that are `known` stay, so that a new file never takes a plugin out of service.
pub(crate) fn list(
    directory: &Path,
    known: &BTreeSet<String>,
    name_fault: fn(&str) -> Option<String>,
) -> io::Result<BTreeMap<String, Result<ListedFile, Rejection>>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let mut found = BTreeMap::new();
    for (count, entry) in entries.enumerate() {
        if count >= ENTRIES_MAX {
            return Err(io::Error::other(format!(
                "it holds more than {ENTRIES_MAX} files: it is for plugins only"
            )));
        }
        let path = entry?.path();
        let Some(name) = name_of(&path) else { continue };
        let listed = match name_fault(&name) {
            Some(fault) => Err(Rejection::new("bad_name", fault)),
            None => match stamps(&path) {
                Ok(stamps) => Ok(ListedFile { path, stamps }),
                // It vanished since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => Err(unreadable(&error)),
            },
        };
        found.insert(name, listed);
    }
    let fits = |(name, listed): (&String, &Result<ListedFile, Rejection>)| {
        listed.is_ok().then(|| name.clone())
    };
    let mut fitting: Vec<String> = found.iter().filter_map(fits).collect();
    fitting.sort_by_key(|name| !known.contains(name));
    for name in fitting.into_iter().skip(PLUGINS_MAX) {
        let reason = format!("there are {PLUGINS_MAX} plugins already: take one away");
        found.insert(name, Err(Rejection::new("too_many", reason)));
    }
    let mut refused = 0;
    found.retain(|_, listed| {
        refused += usize::from(listed.is_err());
        listed.is_ok() || refused <= PLUGINS_MAX
    });
    Ok(found)
}

/// `NAME.wasm`. Hidden files are those of programs that copy or edit one.
fn name_of(path: &Path) -> Option<String> {
    if path.extension()? != "wasm" {
        return None;
    }
    let name = path.file_stem()?.to_string_lossy();
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    (!name.starts_with('.')).then(|| name.chars().map(shown).collect())
}

fn unreadable(error: &io::Error) -> Rejection {
    Rejection::new("unreadable", format!("it cannot be read: {error}"))
}

fn stamps(path: &Path) -> io::Result<Stamps> {
    Ok(Stamps {
        wasm: Stamp::of(path)?,
        manifest: Stamp::of(&path.with_extension("toml")).ok(),
    })
}

/// Reads a plugin's files. Their stamps are read first: what is written meanwhile is read again later.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Files, Rejection> {
    let stamps = stamps(path).map_err(|error| unreadable(&error))?;
    if stamps.wasm.bytes > bytes_max {
        return Err(Rejection::new(
            "too_large",
            format!(
                "it has {} bytes, and plugins.limits.max_file_mb allows {bytes_max}",
                stamps.wasm.bytes
            ),
        ));
    }
    let wasm = read_file(path, bytes_max).map_err(|error| unreadable(&error))?;
    let manifest = match stamps.manifest {
        None => String::new(),
        Some(stamp) if stamp.bytes > MANIFEST_BYTES_MAX => {
            return Err(Rejection::new(
                "manifest",
                "its manifest is longer than 64 KiB",
            ));
        }
        Some(_) => {
            let bytes = read_file(&path.with_extension("toml"), MANIFEST_BYTES_MAX);
            String::from_utf8(bytes.map_err(|error| unreadable(&error))?)
                .map_err(|_| Rejection::new("manifest", "its manifest is not UTF-8"))?
        }
    };
    Ok(Files {
        // What was written a moment ago may be written again without a new stamp: it is read once more at the next scan.
        stamps: if stamps.are_settled(SystemTime::now()) {
            stamps
        } else {
            Stamps::default()
        },
        wasm_digest: digest(&[&wasm]),
        wasm,
        manifest,
    })
}

/// Reads a regular file, up to a bound. A pipe or a device would keep the reader waiting or never end.
fn read_file(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = fs::OpenOptions::new()
        .read(true)
        // Opening a pipe waits for its other end without this; for a file it means nothing.
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other("it grew past its bound while it was read"));
    }
    Ok(bytes)
}

/// Names a generation: what it is made of, in 16 hexadecimal digits.
pub(crate) fn digest(parts: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    let bytes = digest.finalize();
    bytes
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        fs,
        os::unix::ffi::OsStrExt as _,
        path::Path,
        time::{Duration, SystemTime},
    };

    use super::{ENTRIES_MAX, PLUGINS_MAX, Stamps, digest, list, read, stamps};

    fn name_fault(name: &str) -> Option<String> {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        (!name.bytes().all(is_plain)).then(|| format!("{name} is no name"))
    }

    fn listed(directory: &Path, known: &[&str]) -> Vec<(String, String)> {
        let known: BTreeSet<String> = known.iter().map(ToString::to_string).collect();
        let found = list(directory, &known, name_fault).unwrap().into_iter();
        found
            .map(|(name, listed)| {
                let reason = listed.map_or_else(|rejection| rejection.reason, |_| String::new());
                (name, reason)
            })
            .collect()
    }

    fn put(directory: &Path, name: impl AsRef<std::ffi::OsStr>) {
        fs::write(directory.join(name.as_ref()), b"").unwrap();
    }

    #[test]
    fn each_wasm_file_is_a_plugin_or_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "a.wasm",
            "a.toml",
            "b.wasm.part",
            ".c.wasm",
            ".wasm",
            "B b.wasm",
        ] {
            put(dir.path(), name);
        }
        put(dir.path(), std::ffi::OsStr::from_bytes(b"\xff\n.wasm"));
        // A link to what is gone.
        std::os::unix::fs::symlink("/nowhere/at/all", dir.path().join("gone.wasm")).unwrap();
        let refused = |name: &str| (name.to_owned(), format!("{name} is no name"));
        assert_eq!(
            listed(dir.path(), &[]),
            [
                refused("B b"),
                ("a".to_owned(), String::new()),
                refused("\u{fffd}\u{fffd}")
            ]
        );
    }

    #[test]
    fn where_there_are_too_many_a_known_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..=PLUGINS_MAX {
            put(dir.path(), format!("p{n:03}.wasm"));
        }
        let left_out = |known: &[&str]| {
            let listed = listed(dir.path(), known).into_iter();
            let mut refused: Vec<String> = listed
                .filter_map(|(name, reason)| reason.contains("already").then_some(name))
                .collect();
            assert_eq!(refused.len(), 1);
            refused.remove(0)
        };
        assert_eq!(left_out(&[]), "p064");
        assert_eq!(left_out(&["p064"]), "p063");
    }

    #[test]
    fn a_directory_of_other_files_is_not_listed() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..=ENTRIES_MAX {
            put(dir.path(), n.to_string());
        }
        let error = list(dir.path(), &BTreeSet::new(), name_fault).unwrap_err();
        assert!(error.to_string().contains("for plugins only"), "{error}");
    }

    #[test]
    fn a_directory_that_is_not_there_holds_none() {
        assert!(listed(Path::new("/nowhere/at/all"), &[]).is_empty());
    }

    #[test]
    fn what_was_just_written_is_read_again_at_the_next_scan() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.wasm");
        fs::write(&path, b"bytes").unwrap();
        let listed = stamps(&path).unwrap();
        let now = SystemTime::now();
        assert!(!listed.are_settled(now));
        assert!(listed.are_settled(now + Duration::from_secs(1)));
        let old = fs::File::options().write(true).open(&path).unwrap();
        old.set_modified(now - Duration::from_secs(60)).unwrap();
        assert_eq!(
            read(&path, 100).unwrap().stamps,
            Stamps::default(),
            "a time of modification that was set proves nothing"
        );
    }

    #[test]
    fn a_pipe_or_a_device_is_refused_and_waits_for_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe.wasm");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let device = dir.path().join("device.wasm");
        std::os::unix::fs::symlink("/dev/zero", &device).unwrap();
        for path in [pipe, device] {
            let rejection = read(&path, 100).unwrap_err();
            assert_eq!(rejection.code, "unreadable");
            assert!(rejection.reason.contains("regular file"), "{rejection}");
        }
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
    }
}
