//! Paths inside a project: `res://…`, normalised once, unable to name anything outside.
//!
//! Only the text of a path is judged here; what symbolic links make of it is `root`'s business.

use std::sync::Arc;

/// The scheme of paths inside a project.
const SCHEME: &str = "res://";

/// The longest path that is accepted, in bytes: PATH_MAX on Linux.
const PATH_BYTES_MAX: usize = 4_096;

/// Why a path is not one inside the project.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathRefusal {
    /// It starts at the file system's root, or climbs above the project's.
    #[error("it leads outside the project folder")]
    Outside,
    /// It has a scheme other than `res://`.
    #[error("only res:// paths and paths relative to the project can be read")]
    Scheme,
    /// A component starts with a dot: engine caches, version control, local settings.
    #[error("hidden folders and files are not served")]
    Hidden,
    /// It names no file: empty, too long, or holding a NUL.
    #[error("it is not a usable path")]
    Unusable,
}

/// A normalised path inside the project, always starting with `res://`, without `.`, `..`, empty or hidden components.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProjectPath(Arc<str>);

impl ProjectPath {
    /// Reads a path as a person or a client writes it: `res://a/b.gd` or `a/b.gd`.
    ///
    /// # Errors
    /// [`PathRefusal`] says why the path cannot be one inside the project.
    pub fn parse(text: &str) -> Result<Self, PathRefusal> {
        Self::normalise("", text)
    }

    /// Reads a path as a project file writes it: `res://…`, or relative to the folder of `self`.
    pub(crate) fn join(&self, text: &str) -> Result<Self, PathRefusal> {
        Self::normalise(self.folder(), text)
    }

    /// The path as `res://…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path relative to the project's root, without the scheme.
    pub(crate) fn relative(&self) -> &str {
        &self.0[SCHEME.len()..]
    }

    /// The folder the file is in, relative to the root, without a slash at its end.
    pub(crate) fn folder(&self) -> &str {
        self.relative()
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder)
    }

    /// The file's name.
    pub(crate) fn file_name(&self) -> &str {
        self.relative().rsplit('/').next().unwrap_or_default()
    }

    /// The file's extension in lower case, or nothing.
    pub(crate) fn extension(&self) -> String {
        match self.file_name().rsplit_once('.') {
            Some((_, extension)) => extension.to_ascii_lowercase(),
            None => String::new(),
        }
    }

    /// Whether the file belongs to a third-party plugin: it is below `res://addons/`.
    pub(crate) fn in_addons(&self) -> bool {
        self.relative().starts_with("addons/")
    }

    /// The same path with `suffix` (such as `.import`) taken off its end.
    pub(crate) fn without_suffix(&self, suffix: &str) -> Option<Self> {
        let stem = self.0.strip_suffix(suffix)?;
        (stem.len() > SCHEME.len() && !stem.ends_with('/')).then(|| Self(stem.into()))
    }

    fn normalise(folder: &str, text: &str) -> Result<Self, PathRefusal> {
        if text.is_empty() || text.len() > PATH_BYTES_MAX || text.contains('\0') {
            return Err(PathRefusal::Unusable);
        }
        let text = text.replace('\\', "/");
        let (base, rest) = match text.strip_prefix(SCHEME) {
            Some(rest) => ("", rest),
            None if text.contains("://") => return Err(PathRefusal::Scheme),
            None if text.starts_with('/') => return Err(PathRefusal::Outside),
            None => (folder, text.as_str()),
        };
        let mut components: Vec<&str> = Vec::new();
        for component in base.split('/').chain(rest.split('/')) {
            match component {
                "" | "." => {}
                ".." => {
                    components.pop().ok_or(PathRefusal::Outside)?;
                }
                other => components.push(other),
            }
        }
        if components.is_empty() || rest.ends_with('/') {
            return Err(PathRefusal::Unusable);
        }
        if components
            .iter()
            .any(|component| component.starts_with('.'))
        {
            return Err(PathRefusal::Hidden);
        }
        Ok(Self(format!("{SCHEME}{}", components.join("/")).into()))
    }
}

impl std::fmt::Display for ProjectPath {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{PathRefusal, ProjectPath};
    use proptest::prelude::*;

    fn check(text: &str, expected: Result<&str, PathRefusal>) {
        let actual = ProjectPath::parse(text).map(|path| path.as_str().to_owned());
        assert_eq!(actual, expected.map(str::to_owned), "for {text:?}");
    }

    #[test]
    fn paths_are_normalised_or_refused() {
        check("res://a/b.gd", Ok("res://a/b.gd"));
        check("a/b.gd", Ok("res://a/b.gd"));
        check("./a//b.gd", Ok("res://a/b.gd"));
        check("res://a/../b.gd", Ok("res://b.gd"));
        check("a\\b.gd", Ok("res://a/b.gd"));
        check("res:///etc/passwd", Ok("res://etc/passwd"));
        check("/etc/passwd", Err(PathRefusal::Outside));
        check("../x.gd", Err(PathRefusal::Outside));
        check("res://../x.gd", Err(PathRefusal::Outside));
        check("res://a/../../x.gd", Err(PathRefusal::Outside));
        check("res://..\\x.gd", Err(PathRefusal::Outside));
        check("user://save.gd", Err(PathRefusal::Scheme));
        check("file:///etc/passwd", Err(PathRefusal::Scheme));
        check("res://.git/config", Err(PathRefusal::Hidden));
        check("a/.env", Err(PathRefusal::Hidden));
        check("res://...", Err(PathRefusal::Hidden));
        check("", Err(PathRefusal::Unusable));
        check("res://", Err(PathRefusal::Unusable));
        check("a/", Err(PathRefusal::Unusable));
        check("a\0b", Err(PathRefusal::Unusable));
        check(&"a/".repeat(3_000), Err(PathRefusal::Unusable));
    }

    #[test]
    fn references_are_relative_to_the_file_that_holds_them() {
        let base = ProjectPath::parse("res://enemies/slime.gd").expect("a good path");
        let joined = |text: &str| base.join(text).map(|path| path.as_str().to_owned());
        assert_eq!(joined("base.gd"), Ok("res://enemies/base.gd".to_owned()));
        assert_eq!(joined("../player.gd"), Ok("res://player.gd".to_owned()));
        assert_eq!(joined("res://x.gd"), Ok("res://x.gd".to_owned()));
        assert_eq!(joined("../../x.gd"), Err(PathRefusal::Outside));
    }

    proptest! {
        #[test]
        fn no_accepted_path_climbs(text in "[a./\\\\:r\u{0}es]{0,40}") {
            if let Ok(path) = ProjectPath::parse(&text) {
                prop_assert!(path.as_str().starts_with("res://"));
                prop_assert!(path.relative().split('/').all(|part| !part.is_empty() && !part.starts_with('.')));
                let again = ProjectPath::parse(path.as_str());
                prop_assert_eq!(again, Ok(path));
            }
        }
    }
}
