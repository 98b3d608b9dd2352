//! The database's URL: which kind it is, and how it is shown.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::{
    Secret,
    origin::{is_host, split_port},
};

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseKind {
    /// A file of SQLite's.
    Sqlite,
    /// A Postgres server.
    Postgres,
}

/// `sqlite://PATH` or `postgres://…`. May hold a password: it is shown without it.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    kind: DatabaseKind,
    url: Secret,
    shown: String,
    /// SQLite's file.
    file: Option<PathBuf>,
    has_password: bool,
}

impl DatabaseUrl {
    /// Which database.
    #[must_use]
    pub fn kind(&self) -> DatabaseKind {
        self.kind
    }

    /// The URL as sqlx takes it, SQLite's path made absolute.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.url
    }

    /// SQLite's file; `None` for Postgres.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    pub(crate) fn has_password(&self) -> bool {
        self.has_password
    }

    /// Parses a URL. Relative paths of SQLite start from `working_dir`.
    ///
    /// # Errors
    /// What is wrong with it, in words that repeat nothing of it.
    pub(crate) fn parse(text: &str, working_dir: &Path) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once(':').ok_or("it has no scheme")?;
        match scheme {
            "sqlite" => Self::sqlite(rest, working_dir),
            "postgres" | "postgresql" => {
                let rest = rest
                    .strip_prefix("//")
                    .ok_or("two slashes are missing after its scheme")?;
                Self::postgres(scheme, rest)
            }
            _ => Err("its scheme is neither sqlite nor postgres"),
        }
    }

    fn sqlite(rest: &str, working_dir: &Path) -> Result<Self, &'static str> {
        let (path, options) = match rest.split_once('?') {
            Some((path, options)) => (path, Some(options)),
            None => (rest, None),
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        let known = |pair: &str| match pair.split_once('=') {
            Some(("mode", mode)) => ["ro", "rw", "rwc"].contains(&mode),
            Some(("cache", cache)) => ["private", "shared"].contains(&cache),
            Some(("immutable", flag)) => ["true", "false", "1", "0"].contains(&flag),
            Some(("vfs", _)) => true,
            _ => false,
        };
        if !options.is_none_or(|options| options.split('&').all(known)) {
            return Err(
                "behind the ? stands no option of SQLite's (mode=rwc, cache=private and the like)",
            );
        }
        if path.is_empty() {
            return Err("it names no file");
        }
        if path == ":memory:" {
            return Err("what is kept in memory is lost with the router");
        }
        let file = working_dir.join(path);
        let mut url = format!("sqlite://{}", file.display());
        if let Some(options) = options {
            url.push('?');
            url.push_str(options);
        }
        Ok(Self {
            kind: DatabaseKind::Sqlite,
            shown: url.clone(),
            url: Secret::new(url),
            file: Some(file),
            has_password: false,
        })
    }

    fn postgres(scheme: &str, rest: &str) -> Result<Self, &'static str> {
        if rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("it holds a space or a control character (write it as %20 and the like)");
        }
        let (address, tail) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        // A password with a / or ? in it would end up there, where it is shown.
        if tail.contains('@') {
            return Err(
                "it has an @ behind its host (write what is special in a user or password as %40 and the like)",
            );
        }
        let (login, server) = match address.rsplit_once('@') {
            Some((login, server)) => (Some(login), server),
            None => (None, address),
        };
        let options = tail.split_once('?').map_or("", |(_, options)| options);
        let option = |name: &str| {
            let mut pairs = options.split('&').filter_map(|pair| pair.split_once('='));
            pairs.any(|(key, value)| key == name && !value.is_empty())
        };
        let mut pairs = options.split('&').filter_map(|pair| pair.split_once('='));
        if pairs.any(|(key, value)| ["sslmode", "ssl-mode"].contains(&key) && !is_ssl_mode(value)) {
            return Err(
                "its sslmode is none of disable, allow, prefer, require, verify-ca, verify-full",
            );
        }
        // A socket's directory stands in the options, or percent-encoded as the host.
        let (host, _) = split_port(server).ok_or("its port is not a number from 1 to 65535")?;
        let socket = host.starts_with("%2F") || host.starts_with("%2f");
        if !(is_host(host) || socket || host.is_empty() && (option("host") || option("hostaddr"))) {
            return Err("its host is neither a name nor an address");
        }
        let (user, password) = match login {
            Some(login) => login
                .split_once(':')
                .map_or((login, None), |(user, password)| (user, Some(password))),
            None => ("", None),
        };
        let in_login = password.is_some_and(|password| !password.is_empty());
        let at = if login.is_some() { "@" } else { "" };
        let hidden = if in_login { ":***" } else { "" };
        let tail = if option("password") {
            tail.split('?').next().unwrap_or("")
        } else {
            tail
        };
        Ok(Self {
            kind: DatabaseKind::Postgres,
            shown: format!("{scheme}://{user}{hidden}{at}{server}{tail}"),
            url: Secret::new(format!("{scheme}://{rest}")),
            file: None,
            has_password: in_login || option("password"),
        })
    }
}

/// Whether a text says how a connection to Postgres is protected.
fn is_ssl_mode(text: &str) -> bool {
    const MODES: [&str; 6] = [
        "disable",
        "allow",
        "prefer",
        "require",
        "verify-ca",
        "verify-full",
    ];
    MODES.contains(&text.to_ascii_lowercase().as_str())
}

/// Without the password.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Without the password.
impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{DatabaseKind, DatabaseUrl};

    fn parse(text: &str) -> Result<DatabaseUrl, &'static str> {
        DatabaseUrl::parse(text, Path::new("/srv"))
    }

    #[test]
    fn paths_of_sqlite_start_from_the_working_directory() {
        for (text, file) in [
            ("sqlite://data/router.db", "/srv/data/router.db"),
            ("sqlite:///var/lib/router.db", "/var/lib/router.db"),
            ("sqlite:router.db", "/srv/router.db"),
            ("sqlite://router.db?mode=rwc", "/srv/router.db"),
        ] {
            let url = parse(text).unwrap();
            assert_eq!(url.kind(), DatabaseKind::Sqlite);
            assert_eq!(url.file(), Some(Path::new(file)), "{text}");
            assert!(
                url.secret()
                    .expose()
                    .starts_with(&format!("sqlite://{file}")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for (text, shown) in [
            (
                "postgres://app:hunter2@db:5432/games",
                "postgres://app:***@db:5432/games",
            ),
            ("postgresql://app@db/games", "postgresql://app@db/games"),
            (
                "postgres://app:h@unter2@db/games?sslmode=require",
                "postgres://app:***@db/games?sslmode=require",
            ),
            (
                "postgres://db/games?password=hunter2",
                "postgres://db/games",
            ),
            (
                "postgres:///games?host=/run/postgresql",
                "postgres:///games?host=/run/postgresql",
            ),
            (
                "postgres://%2Frun%2Fpostgresql/games",
                "postgres://%2Frun%2Fpostgresql/games",
            ),
            (
                "postgres://app@[::1]:5432/games",
                "postgres://app@[::1]:5432/games",
            ),
        ] {
            let url = parse(text).unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
            assert_eq!(url.secret().expose(), text);
            assert_eq!(url.has_password(), text.contains("unter2"), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_a_database_is_refused() {
        for bad in [
            "",
            "x",
            "mysql://a/b",
            "postgres:",
            "postgres://",
            "postgres:///games",
            "postgres://a b/c",
            "postgres://db:port/x",
            "sqlite:",
            "sqlite://",
            "sqlite::memory:",
            "sqlite://:memory:",
            "sqlite://x?mode=memory",
            "sqlite://x?mod=rwc",
            "sqlite://x?",
            "postgres://db/x?sslmode=on",
            "postgres://app:12?3@db/x",
            "postgres://app:12/3@db/x",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
