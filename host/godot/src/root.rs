//! The project's root on disk: the one place that opens project files.
//!
//! A file is opened only after its path, with every symbolic link resolved, was found to lie inside
//! the root; it is then opened component by component without following links, so that a link
//! swapped in between changes nothing. Only regular files are read (never a pipe or a device).

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};

use crate::path::{PathRefusal, ProjectPath};

/// Why a folder cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ProjectOpenError {
    /// The folder does not exist or cannot be reached.
    #[error("project folder {} cannot be opened", path.display())]
    Folder {
        /// The folder as it was given.
        path: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// The path names something that is not a folder.
    #[error("{} is not a folder", path.display())]
    NotAFolder {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The folder is not a Godot project.
    #[error("{} holds no readable project.godot: {reason}; give the folder of a Godot project with --project", path.display())]
    NotAProject {
        /// The folder as it was given.
        path: PathBuf,
        /// What is the matter with the file.
        reason: String,
    },
}

/// Why a file of the project cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileAccessError {
    #[error("it does not exist")]
    Missing,
    #[error(transparent)]
    Refused(#[from] PathRefusal),
    #[error("it is not a regular file")]
    NotAFile,
    #[error("it is {size} bytes, more than the {max} that are read")]
    TooLarge { size: u64, max: u64 },
    #[error("{0}")]
    Io(std::io::Error),
}

impl From<std::io::Error> for FileAccessError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => Self::Missing,
            _ => Self::Io(error),
        }
    }
}

/// What differs between two states of a file.
///
/// Time and size alone miss a rewrite within one tick of the file system's clock, or one that sets the time back;
/// the inode and the change time catch most of those, and `index` reads young files again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileStamp {
    pub(crate) size: u64,
    modified_ns: i128,
    changed_ns: i128,
    inode: u64,
}

impl FileStamp {
    /// The stamp of a file.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let ns = |seconds: i64, part: i64| i128::from(seconds) * 1_000_000_000 + i128::from(part);
        Self {
            size: metadata.size(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// Whether the file last changed so long before `now_ns` that a later change must show in the stamp.
    /// File systems' clocks tick every 1 to 10 ms; five ticks are safe.
    pub(crate) fn is_settled(&self, now_ns: i128) -> bool {
        now_ns - self.changed_ns > 50_000_000
    }
}

/// An opened project folder.
#[derive(Debug)]
pub(crate) struct ProjectRoot {
    canonical: PathBuf,
}

impl ProjectRoot {
    /// Opens `folder`, which must hold a `project.godot`.
    pub(crate) fn open(folder: &Path) -> Result<Self, ProjectOpenError> {
        let canonical = folder
            .canonicalize()
            .map_err(|source| ProjectOpenError::Folder {
                path: folder.to_owned(),
                source,
            })?;
        if !canonical.is_dir() {
            return Err(ProjectOpenError::NotAFolder {
                path: folder.to_owned(),
            });
        }
        let root = Self { canonical };
        match root.open_file(&Self::project_file()) {
            Ok(_) => Ok(root),
            Err(error) => Err(ProjectOpenError::NotAProject {
                path: folder.to_owned(),
                reason: error.to_string(),
            }),
        }
    }

    /// Where every Godot project keeps its settings.
    pub(crate) fn project_file() -> ProjectPath {
        ProjectPath::parse("res://project.godot").expect("a constant path is well formed")
    }

    /// The folder, with every link resolved.
    pub(crate) fn folder(&self) -> &Path {
        &self.canonical
    }

    /// The path of the file that `path` means once links are resolved, if that lies inside the project and is served.
    pub(crate) fn real_path(&self, path: &ProjectPath) -> Result<ProjectPath, FileAccessError> {
        let target = self.canonical.join(path.relative()).canonicalize()?;
        self.inside(&target)
    }

    /// The project path of an absolute path without links.
    pub(crate) fn inside(&self, target: &Path) -> Result<ProjectPath, FileAccessError> {
        let relative = target
            .strip_prefix(&self.canonical)
            .map_err(|_| PathRefusal::Outside)?;
        // A backslash is a separator in project paths, so a name that holds one is ambiguous.
        let text = relative.to_str().filter(|text| !text.contains('\\'));
        let text = text.ok_or(PathRefusal::Unusable)?;
        Ok(ProjectPath::parse(text)?)
    }

    /// Opens a regular file of the project.
    pub(crate) fn open_file(
        &self,
        path: &ProjectPath,
    ) -> Result<(File, FileStamp), FileAccessError> {
        let real = self.real_path(path)?;
        let mut folder = open_root(&self.canonical)?;
        let relative = Path::new(real.relative());
        let mut components = relative.components().peekable();
        while let Some(component) = components.next() {
            let Component::Normal(name) = component else {
                return Err(PathRefusal::Outside.into());
            };
            // NONBLOCK: opening a pipe must not wait for its writer. It means nothing to a regular file.
            let mut flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            if components.peek().is_some() {
                flags |= OFlags::DIRECTORY;
            }
            folder = openat(&folder, name, flags, Mode::empty()).map_err(std::io::Error::from)?;
        }
        let file = File::from(folder);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(FileAccessError::NotAFile);
        }
        Ok((file, FileStamp::of(&metadata)))
    }

    /// Reads a whole file of at most `bytes_max` bytes, with the stamp it had when it was opened.
    pub(crate) fn read(
        &self,
        path: &ProjectPath,
        bytes_max: u64,
    ) -> Result<(Vec<u8>, FileStamp), FileAccessError> {
        let (file, stamp) = self.open_file(path)?;
        let too_large = |size| FileAccessError::TooLarge {
            size,
            max: bytes_max,
        };
        if stamp.size > bytes_max {
            return Err(too_large(stamp.size));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(stamp.size).unwrap_or(0));
        // One byte more than allowed, so that a file growing under us is noticed.
        file.take(bytes_max + 1).read_to_end(&mut bytes)?;
        match u64::try_from(bytes.len()) {
            Ok(read) if read <= bytes_max => Ok((bytes, stamp)),
            _ => Err(too_large(bytes_max + 1)),
        }
    }
}

fn open_root(folder: &Path) -> Result<OwnedFd, FileAccessError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(folder, flags, Mode::empty()).map_err(std::io::Error::from)?;
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::{FileAccessError, ProjectOpenError, ProjectRoot};
    use crate::path::{PathRefusal, ProjectPath};

    fn project() -> (tempfile::TempDir, ProjectRoot) {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("game");
        std::fs::create_dir_all(folder.join(".git")).unwrap();
        std::fs::create_dir_all(folder.join("scripts")).unwrap();
        std::fs::write(outer.path().join("secret.gd"), "secret").unwrap();
        std::fs::write(folder.join("project.godot"), "config_version=5\n").unwrap();
        std::fs::write(folder.join(".git/config"), "token").unwrap();
        std::fs::write(folder.join("scripts/a.gd"), "extends Node\n").unwrap();
        let root = ProjectRoot::open(&folder).unwrap();
        (outer, root)
    }

    fn read(root: &ProjectRoot, path: &str) -> Result<Vec<u8>, FileAccessError> {
        let path = ProjectPath::parse(path)?;
        root.read(&path, 1_000).map(|(bytes, _)| bytes)
    }

    #[test]
    fn a_folder_must_be_a_project() {
        let outer = tempfile::tempdir().unwrap();
        let file = outer.path().join("file");
        std::fs::write(&file, "").unwrap();
        let missing = ProjectRoot::open(&outer.path().join("nowhere"));
        assert!(matches!(missing, Err(ProjectOpenError::Folder { .. })));
        assert!(matches!(
            ProjectRoot::open(&file),
            Err(ProjectOpenError::NotAFolder { .. })
        ));
        let plain = ProjectRoot::open(outer.path());
        assert!(matches!(plain, Err(ProjectOpenError::NotAProject { .. })));
    }

    #[test]
    fn links_are_followed_only_inside_the_project() {
        let (outer, root) = project();
        let folder = outer.path().join("game");
        symlink("scripts/a.gd", folder.join("inside.gd")).unwrap();
        symlink("../secret.gd", folder.join("outside.gd")).unwrap();
        symlink(outer.path(), folder.join("up")).unwrap();
        symlink(".git/config", folder.join("hidden.gd")).unwrap();
        symlink("loop.gd", folder.join("loop.gd")).unwrap();
        assert_eq!(read(&root, "inside.gd").unwrap(), b"extends Node\n");
        for path in ["outside.gd", "up/secret.gd", "up/game/../secret.gd"] {
            let outcome = read(&root, path);
            let refused = matches!(
                outcome,
                Err(FileAccessError::Refused(PathRefusal::Outside) | FileAccessError::Missing)
            );
            assert!(refused, "{path}: {outcome:?}");
        }
        let hidden = read(&root, "hidden.gd");
        assert!(matches!(
            hidden,
            Err(FileAccessError::Refused(PathRefusal::Hidden))
        ));
        assert!(matches!(
            read(&root, "loop.gd"),
            Err(FileAccessError::Io(_))
        ));
    }

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let (outer, root) = project();
        let folder = outer.path().join("game");
        let pipe = folder.join("pipe.gd");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        std::fs::write(folder.join("big.gd"), vec![b'x'; 1_001]).unwrap();
        assert!(matches!(
            read(&root, "pipe.gd"),
            Err(FileAccessError::NotAFile)
        ));
        assert!(matches!(
            read(&root, "scripts"),
            Err(FileAccessError::NotAFile)
        ));
        assert!(matches!(
            read(&root, "big.gd"),
            Err(FileAccessError::TooLarge { .. })
        ));
        assert!(matches!(
            read(&root, "none.gd"),
            Err(FileAccessError::Missing)
        ));
        assert!(matches!(
            read(&root, "scripts/a.gd/x"),
            Err(FileAccessError::Missing)
        ));
    }
}
