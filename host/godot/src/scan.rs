//! Lists the files of a project, without reading them.
//!
//! What is not part of `res://` for Godot is not listed: folders and files whose name starts with a
//! dot (`.godot`, `.import`, `.git`) and folders that hold a `.gdignore`. `addons` is listed. Links
//! are never followed here: what they point to is listed where it really is, if it is inside.

use std::ffi::OsString;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};

use crate::fault::{FileFault, Flaw};
use crate::limits::ProjectLimits;
use crate::path::ProjectPath;
use crate::root::{FileAccessError, FileStamp, ProjectRoot};

/// Faults kept of one listing; a project with more links out of it than this is not read better by more lines.
const FAULTS_MAX: usize = 200;

/// The files of a project.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Every file with its stamp, in the order found.
    pub(crate) files: Vec<(ProjectPath, FileStamp)>,
    /// What could not be listed.
    pub(crate) faults: Vec<FileFault>,
    /// A bound cut the listing off.
    pub(crate) truncated: bool,
    /// There are links that lead to other places inside the project.
    pub(crate) has_links: bool,
}

impl Listing {
    /// Lists the project's files.
    ///
    /// # Errors
    /// When the root itself can no longer be listed.
    pub(crate) fn of(root: &ProjectRoot, limits: &ProjectLimits) -> std::io::Result<Self> {
        let mut listing = Self::default();
        let mut folders = vec![(root.folder().to_owned(), 0_usize)];
        while let Some((folder, depth)) = folders.pop() {
            match entries(&folder, limits.files_max) {
                Ok(entries) => {
                    if depth > 0 && entries.iter().any(|entry| entry.file_name() == ".gdignore") {
                        continue;
                    }
                    for entry in entries {
                        if listing.files.len() >= limits.files_max {
                            listing.cut(
                                root,
                                &folder,
                                "more files than are read; the rest is left out",
                            );
                            return Ok(listing);
                        }
                        listing.entry(root, &entry, depth, limits, &mut folders);
                    }
                }
                Err(error) if depth == 0 => return Err(error),
                Err(error) => {
                    listing.fault(
                        root,
                        &folder,
                        format!("the folder cannot be listed: {error}"),
                    );
                }
            }
        }
        Ok(listing)
    }

    fn entry(
        &mut self,
        root: &ProjectRoot,
        entry: &DirEntry,
        depth: usize,
        limits: &ProjectLimits,
        folders: &mut Vec<(PathBuf, usize)>,
    ) {
        let path = entry.path();
        let name: OsString = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            return;
        }
        let Ok(metadata) = entry.metadata() else {
            // It vanished after it was listed.
            return;
        };
        if metadata.is_symlink() {
            self.link(root, &path);
        } else if metadata.is_dir() {
            if depth < limits.folder_depth_max {
                folders.push((path, depth + 1));
            } else {
                self.cut(root, &path, "nested deeper than folders are read; left out");
            }
        } else if metadata.is_file() {
            match root.inside(&path) {
                Ok(project_path) => self.files.push((project_path, FileStamp::of(&metadata))),
                Err(error) => self.fault(root, &path, format!("left out: {error}")),
            }
        }
    }

    fn link(&mut self, root: &ProjectRoot, path: &Path) {
        let target = path.canonicalize().map_err(FileAccessError::from);
        match target.and_then(|target| {
            if target == root.folder() {
                return Ok(());
            }
            root.inside(&target).map(|_| ())
        }) {
            Ok(()) => self.has_links = true,
            Err(FileAccessError::Missing) => {
                self.fault(
                    root,
                    path,
                    "a symbolic link to something that does not exist".to_owned(),
                );
            }
            Err(error) => {
                self.fault(
                    root,
                    path,
                    format!("a symbolic link that is not followed: {error}"),
                );
            }
        }
    }

    fn cut(&mut self, root: &ProjectRoot, path: &Path, what: &str) {
        self.truncated = true;
        self.fault(root, path, what.to_owned());
    }

    fn fault(&mut self, root: &ProjectRoot, path: &Path, what: String) {
        if self.faults.len() < FAULTS_MAX {
            let relative = path.strip_prefix(root.folder()).unwrap_or(path);
            let shown = format!("res://{}", relative.to_string_lossy());
            self.faults.push(Flaw::whole(what).of(&shown));
        }
    }
}

/// The entries of a folder in the order of their names, at most `max` of them.
fn entries(folder: &Path, max: usize) -> std::io::Result<Vec<DirEntry>> {
    // One more than may be kept, so that the caller notices there are too many.
    let mut entries = std::fs::read_dir(folder)?
        .take(max.saturating_add(1))
        .collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(DirEntry::file_name);
    Ok(entries)
}
