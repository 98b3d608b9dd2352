//! Small files that are there whole or not at all, whatever ends the process or the machine meanwhile: what the router keeps in
//! its data directory.
//!
//! Each is written beside its place, synced, given its name, and its directory synced: a name is safe only once its directory is.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// Permission bits of a file that may hold a secret.
pub const OWNER_ONLY: u32 = 0o600;

/// Permission bits of a file that other programs read.
pub const READABLE: u32 = 0o644;

/// Puts a file in place of the one before, if there was one. One writer at a time.
///
/// # Errors
/// What the system says; the file is as it was before.
pub fn replace(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let draft = beside(path, |name| format!("{name}.new"))?;
    write(&draft, mode, content)?;
    fs::rename(&draft, path)?;
    sync_directory(path)
}

/// Makes a file unless there is one. Whether it was made: of several writers at once one succeeds.
///
/// # Errors
/// What the system says; no file was made.
pub fn create(path: &Path, mode: u32, content: &[u8]) -> io::Result<bool> {
    static DRAFTS: AtomicU32 = AtomicU32::new(0);
    let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
    let draft = beside(path, |name| format!(".{name}.{}-{number}", process::id()))?;
    let written = write(&draft, mode, content).and_then(|()| match fs::hard_link(&draft, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    });
    // It may hold a secret: it goes, whatever happened.
    let removed = remove(&draft);
    let is_new = written?;
    removed?;
    sync_directory(path)?;
    Ok(is_new)
}

fn beside(path: &Path, name: impl FnOnce(&str) -> String) -> io::Result<PathBuf> {
    let own = path.file_name().and_then(|name| name.to_str());
    let own = own.ok_or(io::ErrorKind::InvalidFilename)?;
    Ok(path.with_file_name(name(own)))
}

/// A new file, whatever a writer that was killed left in its place.
fn write(draft: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    remove(draft)?;
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(draft)?;
    file.write_all(content)?;
    file.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Some network file systems refuse to sync a directory. They order names by themselves, and a router must start on them.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    match File::open(directory.unwrap_or(Path::new(".")))?.sync_all() {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt as _, PermissionsExt as _},
        path::Path,
        thread,
    };

    use super::{OWNER_ONLY, READABLE, create, replace};

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_replaced_file_has_the_new_content_and_the_asked_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snapshot.json");
        replace(&path, READABLE, b"one").unwrap();
        // What a writer that was killed left, for all to read.
        let draft = dir.path().join("snapshot.json.new");
        fs::write(&draft, "half of tw").unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o666)).unwrap();
        replace(&path, OWNER_ONLY, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, OWNER_ONLY);
        assert_eq!(names(dir.path()), ["snapshot.json"]);
    }

    #[test]
    fn what_cannot_be_written_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("epoch");
        replace(&path, READABLE, b"7\n").unwrap();
        // A directory where the draft would be.
        fs::create_dir(dir.path().join("epoch.new")).unwrap();
        replace(&path, READABLE, b"8\n").unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"7\n");
        replace(&dir.path().join("missing/epoch"), READABLE, b"1").unwrap_err();
        replace(Path::new("/"), READABLE, b"1").unwrap_err();
    }

    #[test]
    fn of_many_that_make_a_file_one_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let made: Vec<(usize, bool)> = thread::scope(|scope| {
            let make = |number: usize| {
                let path = &path;
                scope.spawn(move || {
                    let content = format!("key {number}");
                    (
                        number,
                        create(path, OWNER_ONLY, content.as_bytes()).unwrap(),
                    )
                })
            };
            let threads: Vec<_> = (0..8).map(make).collect();
            let joined = threads.into_iter().map(|thread| thread.join().unwrap());
            joined.collect()
        });
        let winners: Vec<usize> = made
            .iter()
            .filter(|(_, is_new)| *is_new)
            .map(|(number, _)| *number)
            .collect();
        let [winner] = winners[..] else {
            panic!("{made:?}");
        };
        let content = fs::read_to_string(&path).unwrap();
        assert_eq!(content, format!("key {winner}"));
        assert_eq!(names(dir.path()), ["key"]);
    }
}
