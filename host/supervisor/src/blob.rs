//! The state blob as it travels: a sealed memfd, so that neither side copies it through the control connection.

use std::{
    fs::File,
    io::{self, Write as _},
    os::{fd::OwnedFd, unix::fs::FileExt as _},
};

use godot_mcp_shim::protocol::BLOB_BYTES_MAX;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

/// Puts bytes into a memfd that nobody can change any more.
///
/// # Errors
/// There are too many bytes, or the system has no memory.
pub(crate) fn to_fd(bytes: &[u8]) -> io::Result<OwnedFd> {
    if bytes.len() as u64 > BLOB_BYTES_MAX {
        return Err(io::Error::other(format!(
            "a blob of {} bytes; at most {BLOB_BYTES_MAX}",
            bytes.len()
        )));
    }
    let fd = memfd_create(
        "godot-mcp-blob",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(file.into())
}

/// Reads a blob. The offset is shared with the shim's duplicate and is not used.
///
/// # Errors
/// It is larger than any blob of ours, or cannot be read.
pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Vec<u8>> {
    let file = File::from(fd);
    let length = file.metadata()?.len();
    if length > BLOB_BYTES_MAX {
        return Err(io::Error::other(format!(
            "a blob of {length} bytes; at most {BLOB_BYTES_MAX}"
        )));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{BLOB_BYTES_MAX, from_fd, to_fd};

    #[test]
    fn a_blob_comes_back_as_it_went_and_is_bounded() {
        for length in [0, 1, 100_000, usize::try_from(BLOB_BYTES_MAX).unwrap()] {
            let bytes: Vec<u8> = (0..length)
                .map(|at| u8::try_from(at % 251).unwrap())
                .collect();
            let fd = to_fd(&bytes).unwrap();
            let kept = fd.try_clone().unwrap();
            assert_eq!(from_fd(fd).unwrap(), bytes);
            assert_eq!(
                from_fd(kept).unwrap(),
                bytes,
                "a second reader must see it whole too"
            );
        }
        assert!(to_fd(&vec![0; usize::try_from(BLOB_BYTES_MAX).unwrap() + 1]).is_err());
    }
}
