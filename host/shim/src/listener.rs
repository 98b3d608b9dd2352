//! The control socket of a slot: bound for this user only, and bound again when its file is removed.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use rustix::{fs::Mode, process::umask};

/// The control socket cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("socket {}: {source}", path.display())]
pub(crate) struct BindError {
    path: PathBuf,
    source: io::Error,
}

impl BindError {
    fn new(path: &Path, source: io::Error) -> Self {
        Self {
            path: path.to_owned(),
            source,
        }
    }
}

/// The control socket, bound by us.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Accepts connections, without blocking.
    pub(crate) socket: UnixListener,
    path: PathBuf,
    /// The socket file that we made: device and inode.
    made: (u64, u64),
}

impl Listener {
    /// Binds at a path from which a socket of a dead process is removed first.
    pub(crate) fn bind(path: &Path) -> Result<Self, BindError> {
        remove_stale_socket(path)?;
        let bind = || -> io::Result<Self> {
            // Set for the one call that makes the file, so that there is no moment at which others may connect.
            let former = umask(Mode::from_raw_mode(0o177));
            let bound = UnixListener::bind(path);
            umask(former);
            let socket = bound?;
            socket.set_nonblocking(true)?;
            let meta = fs::symlink_metadata(path)?;
            Ok(Self {
                socket,
                path: path.to_owned(),
                made: (meta.dev(), meta.ino()),
            })
        };
        bind().map_err(|source| BindError::new(path, source))
    }

    /// Whether the path still names the socket that we made.
    pub(crate) fn in_place(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.made)
    }

    /// Binds again after the file was removed or replaced by another socket. We hold the slot's lock, so the path is
    /// ours.
    pub(crate) fn bind_again(&mut self) -> Result<(), BindError> {
        *self = Self::bind(&self.path)?;
        Ok(())
    }

    /// Removes the file if it is ours.
    pub(crate) fn unlink(&self) {
        if self.in_place() {
            let _gone_already = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket that a dead process left behind.
///
/// # Errors
/// Another kind of file has that path, or it cannot be removed.
pub(crate) fn remove_stale_socket(path: &Path) -> Result<(), BindError> {
    let removed = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(meta) if meta.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Err(io::Error::other("it exists and is not a socket")),
    };
    removed.map_err(|source| BindError::new(path, source))
}
