//! The names of a slot's files. An instance id holds no `~`, so nothing here can collide with another instance.
//!
//! | file | slot 0 | slot n |
//! |---|---|---|
//! | `SOCKET_PATH` | `godot-mcp-{id}.sock` | `godot-mcp-{id}~{n}.sock` |
//! | control socket, `stdio` | the same | the same |
//! | control socket, `socket` | `godot-mcp-{id}~shim.sock` | `godot-mcp-{id}~{n}~shim.sock` |
//! | lock and record | `godot-mcp-{id}.lock` | `godot-mcp-{id}~{n}.lock` |
//!
//! The lock is the same for both transports: a template that changes its transport still has one shim per slot.

use std::path::{Path, PathBuf};

use crate::protocol::Transport;

/// Longest path of a unix socket: `sun_path` has 108 bytes, the last one is a NUL (unix(7)).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// What every file of ours in the socket directory begins with.
pub const FILE_PREFIX: &str = "godot-mcp-";

/// What a slot's lock ends with.
pub const LOCK_SUFFIX: &str = ".lock";

/// The files of one slot in the socket directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotPaths {
    /// The child's `SOCKET_PATH`.
    pub socket: PathBuf,
    /// Where the shim listens.
    pub control: PathBuf,
    /// The slot's lock and record.
    pub lock: PathBuf,
}

/// A socket path that the kernel would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the socket path {} has {bytes} bytes and Linux allows {SOCKET_PATH_BYTES_MAX}: choose a shorter socket_dir or instance id",
    path.display()
)]
pub struct SocketPathTooLong {
    /// The refused path.
    pub path: PathBuf,
    /// Its length.
    pub bytes: usize,
}

impl SlotPaths {
    /// The files of `slot` of `instance` in `socket_dir`.
    ///
    /// # Errors
    /// One of its socket paths is longer than Linux allows.
    pub fn new(
        socket_dir: &Path,
        instance: &str,
        slot: u32,
        transport: Transport,
    ) -> Result<Self, SocketPathTooLong> {
        let stem = format!("{FILE_PREFIX}{}", slot_stem(instance, slot));
        let socket = socket_dir.join(format!("{stem}.sock"));
        let control = match transport {
            Transport::Stdio => socket.clone(),
            Transport::Socket => socket_dir.join(format!("{stem}~shim.sock")),
        };
        let bytes = control.as_os_str().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            return Err(SocketPathTooLong {
                path: control,
                bytes,
            });
        }
        let lock = socket_dir.join(format!("{stem}{LOCK_SUFFIX}"));
        Ok(Self {
            socket,
            control,
            lock,
        })
    }
}

/// The current log of a slot: `{id}.log`, or `{id}~s{n}.log` for a slot past the first.
#[must_use]
pub fn current_log(log_dir: &Path, instance: &str, slot: u32) -> PathBuf {
    let stem = if slot == 0 {
        instance.to_owned()
    } else {
        format!("{instance}~s{slot}")
    };
    log_dir.join(format!("{stem}.log"))
}

/// The `n`th rotated log beside `current`, 1 being the newest: `{id}~{n}.log`.
#[must_use]
pub fn rotated_log(current: &Path, n: u32) -> PathBuf {
    let name = current
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let stem = name.strip_suffix(".log").unwrap_or(&name);
    current.with_file_name(format!("{stem}~{n}.log"))
}

fn slot_stem(instance: &str, slot: u32) -> String {
    if slot == 0 {
        instance.to_owned()
    } else {
        format!("{instance}~{slot}")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{SOCKET_PATH_BYTES_MAX, SlotPaths, current_log, rotated_log};
    use crate::protocol::Transport;

    #[test]
    fn a_slot_has_one_lock_whatever_its_transport() {
        let of = |slot, transport| {
            SlotPaths::new(Path::new("/tmp"), "maze@1.0", slot, transport).unwrap()
        };
        let stdio = of(0, Transport::Stdio);
        let socket = of(0, Transport::Socket);
        assert_eq!(stdio.socket, Path::new("/tmp/godot-mcp-maze@1.0.sock"));
        assert_eq!(stdio.control, stdio.socket);
        assert_eq!(socket.socket, stdio.socket);
        assert_eq!(
            socket.control,
            Path::new("/tmp/godot-mcp-maze@1.0~shim.sock")
        );
        assert_eq!(stdio.lock, socket.lock);
        assert_eq!(
            of(3, Transport::Stdio).lock,
            Path::new("/tmp/godot-mcp-maze@1.0~3.lock")
        );
    }

    #[test]
    fn a_path_that_the_kernel_would_refuse_is_named_with_its_remedy() {
        let room = SOCKET_PATH_BYTES_MAX - "/godot-mcp-x.sock".len();
        let fits = format!("/{}", "d".repeat(room - 1));
        assert!(SlotPaths::new(Path::new(&fits), "x", 0, Transport::Stdio).is_ok());
        assert!(SlotPaths::new(Path::new(&fits), "x", 0, Transport::Socket).is_err());
        let error = SlotPaths::new(Path::new(&fits), "xy", 0, Transport::Stdio).unwrap_err();
        assert_eq!(error.bytes, SOCKET_PATH_BYTES_MAX + 1);
        assert!(error.to_string().contains("shorter socket_dir"), "{error}");
    }

    #[test]
    fn rotated_logs_still_end_in_log() {
        let log = current_log(Path::new("/l"), "a.b", 0);
        assert_eq!(log, Path::new("/l/a.b.log"));
        assert_eq!(rotated_log(&log, 2), Path::new("/l/a.b~2.log"));
        assert_eq!(
            current_log(Path::new("/l"), "a", 2),
            Path::new("/l/a~s2.log")
        );
    }
}
