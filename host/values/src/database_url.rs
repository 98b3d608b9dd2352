//! The database's URL: which kind it is, and how it is shown without its secrets.
//!
//! Not by the crate `url`: it takes what sqlx or Postgres understand otherwise (a `/` or `?` in a password, a space, port 0), and says
//! of what is wrong too little for a person to find it.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::{
    Secret,
    authority::{Host, split_port},
};

/// What means something else in the URL of a file. sqlx takes it encoded.
const PATH_ENCODED: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#');

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseKind {
    /// A file of SQLite's.
    Sqlite,
    /// A Postgres server.
    Postgres,
}

/// What is wrong with a text that is no URL of a database. Its messages repeat nothing of the text, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidDatabaseUrl(&'static str);

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

    /// Whether it holds a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.has_password
    }

    /// Parses a URL. Relative paths of SQLite start from `working_dir`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, working_dir: &Path) -> Result<Self, InvalidDatabaseUrl> {
        let (scheme, rest) = text
            .split_once(':')
            .ok_or(InvalidDatabaseUrl("it has no scheme"))?;
        match scheme {
            "sqlite" => Self::sqlite(rest, working_dir),
            "postgres" | "postgresql" => {
                let rest = rest
                    .strip_prefix("//")
                    .ok_or("two slashes are missing after its scheme");
                rest.and_then(|rest| Self::postgres(scheme, rest))
            }
            _ => Err("its scheme is neither sqlite nor postgres"),
        }
        .map_err(InvalidDatabaseUrl)
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
        let path = percent_decode_str(path).decode_utf8();
        let path = path.map_err(|_| "the path of its file is not UTF-8")?;
        let file = working_dir.join(&*path);
        let shown = file.display().to_string();
        let mut url = format!("sqlite://{}", utf8_percent_encode(&shown, PATH_ENCODED));
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
        if !(Host::parse(host).is_some()
            || socket
            || host.is_empty() && (option("host") || option("hostaddr")))
        {
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

/// As [`DatabaseUrl::parse`]; a relative path stays relative.
impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidDatabaseUrl> {
        Self::parse(text, Path::new(""))
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

    use super::{DatabaseKind, DatabaseUrl, InvalidDatabaseUrl};

    fn parse(text: &str) -> Result<DatabaseUrl, InvalidDatabaseUrl> {
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
    fn signs_of_urls_may_stand_in_the_path_of_a_file() {
        for (text, file, url) in [
            ("sqlite://a%20b.db", "/srv/a b.db", "sqlite:///srv/a b.db"),
            (
                "sqlite://a%3F%23%25.db?mode=rw",
                "/srv/a?#%.db",
                "sqlite:///srv/a%3F%23%25.db?mode=rw",
            ),
            ("sqlite:///50%.db", "/50%.db", "sqlite:///50%25.db"),
        ] {
            let parsed = parse(text).unwrap();
            assert_eq!(parsed.file(), Some(Path::new(file)), "{text}");
            assert_eq!(parsed.secret().expose(), url, "{text}");
        }
        let relative: DatabaseUrl = "sqlite://x.db".parse().unwrap();
        assert_eq!(relative.secret().expose(), "sqlite://x.db");
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
            "sqlite://%ff",
            "mysql://u:hunter2@h/db",
            "postgres://u:hunter2@h:port/db",
            "postgres://u:hunter2@[h/db",
            "postgres://h/db?sslmode=hunter2",
            "sqlite://x?mode=hunter2",
            "hunter2",
        ] {
            let error = parse(bad).expect_err(bad);
            for shown in [error.to_string(), format!("{error:?}")] {
                assert!(!shown.contains("hunter2"), "{shown}");
            }
        }
    }
}
