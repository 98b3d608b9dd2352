//! Follows the plugins directory: file events as hints, and the clock, since events get lost.

use std::{path::Path, sync::Arc, time::Duration};

use notify::{
    EventKind, Watcher as _,
    event::{AccessKind, AccessMode},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{loader::Scan, shared::EngineShared};

/// How often the directory is scanned without any hint: events get lost, and a replaced directory sends none.
const SCAN_EVERY: Duration = Duration::from_secs(2);

/// A hint is followed after so long without another one, and after so long in any case.
const SETTLE: Duration = Duration::from_millis(100);
const SETTLE_MAX: Duration = Duration::from_millis(500);

/// Follows hints and the clock until the engine ends.
pub(crate) async fn watch(shared: Arc<EngineShared>, ends: CancellationToken) {
    let hint = Arc::new(Notify::new());
    let mut watched = None;
    loop {
        // A directory that is not there yet, or was replaced, is watched as soon as it is there (again).
        watched = watched_directory(&shared.plugins_dir, &hint, watched);
        shared.scan(Scan::Periodic).await;
        tokio::select! {
            () = hint.notified() => settle(&hint).await,
            () = tokio::time::sleep(SCAN_EVERY) => {}
            () = ends.cancelled() => return,
        }
    }
}

/// Waits until a burst of writes is over, within reason.
async fn settle(hint: &Notify) {
    let quiet = async { while tokio::time::timeout(SETTLE, hint.notified()).await.is_ok() {} };
    // A file that is written without pause is read all the same.
    let _ = tokio::time::timeout(SETTLE_MAX, quiet).await;
}

struct WatchedDirectory {
    _watcher: notify::RecommendedWatcher,
    inode: u64,
}

fn watched_directory(
    directory: &Path,
    hint: &Arc<Notify>,
    before: Option<WatchedDirectory>,
) -> Option<WatchedDirectory> {
    use std::os::unix::fs::MetadataExt as _;
    let inode = std::fs::metadata(directory).ok()?.ino();
    if let Some(before) = before.filter(|before| before.inode == inode) {
        return Some(before);
    }
    let hint = Arc::clone(hint);
    let on_event = move |event: notify::Result<notify::Event>| {
        if event.map_or(true, |event| is_hint(event.kind)) {
            hint.notify_one();
        }
    };
    let mut watcher = notify::recommended_watcher(on_event).ok()?;
    match watcher.watch(directory, notify::RecursiveMode::NonRecursive) {
        Ok(()) => Some(WatchedDirectory {
            _watcher: watcher,
            inode,
        }),
        Err(error) => {
            tracing::debug!(error = %error, "plugins directory not watched: scanned periodically only");
            None
        }
    }
}

/// Whether an event may be that of a file that changed. A scan of the directory is an event of its own, and no reason for another.
fn is_hint(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use notify::Watcher as _;

    use super::is_hint;

    #[test]
    fn a_scan_is_no_hint_and_a_write_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let (read, written) = (dir.path().join("p.wasm"), dir.path().join("q.wasm"));
        fs::write(&read, "before").unwrap();
        let (sender, hints) = std::sync::mpsc::channel();
        let on_event = move |event: notify::Result<notify::Event>| {
            let event = event.unwrap();
            if is_hint(event.kind) {
                let _ = sender.send(event.paths);
            }
        };
        let mut watcher = notify::recommended_watcher(on_event).unwrap();
        let mode = notify::RecursiveMode::NonRecursive;
        watcher.watch(dir.path(), mode).unwrap();
        for _ in 0..3 {
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
            fs::read(&read).unwrap();
        }
        // Events keep their order: a hint about what was read would come before the one about what is written.
        fs::write(&written, "after").unwrap();
        let first = hints.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(first, [written]);
    }
}
