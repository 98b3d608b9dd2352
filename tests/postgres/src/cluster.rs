//! The server as a test sees it: one value that starts it, disturbs it, and ends it.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use parking_lot::Mutex;
use tempfile::TempDir;

use crate::{
    error::{ClusterError, io_error},
    process::{self, Account, Server},
    programs::{find_bin, psql, run},
};

/// Attempts at a free port: another process may take one before the server binds it.
const PORT_TRIES: u32 = 5;
/// So often in a row no client may be there before a server counts as one that refuses: 20 rounds are half a second at least, and an
/// authentication takes a few milliseconds.
const FREE_ROUNDS: u32 = 20;

/// How a test wants its server.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Whether the loopback asks for passwords (the socket never does). The superuser's is [`SUPERUSER_PASSWORD`].
    pub passwords: bool,
    /// Connections that the server takes, those kept for superusers included.
    pub max_connections: u32,
    /// Further settings, each as `name=value`.
    pub settings: Vec<String>,
}

/// The password of the role `postgres`.
pub const SUPERUSER_PASSWORD: &str = "throw-away-superuser";

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            passwords: false,
            max_connections: 100,
            settings: Vec::new(),
        }
    }
}

/// A server in a directory of its own. It ends when this is dropped, and with the process should that be killed.
#[derive(Debug)]
pub struct Cluster {
    dir: TempDir,
    bin: PathBuf,
    account: Option<Account>,
    options: ClusterOptions,
    port: u16,
    server: Mutex<Option<Server>>,
    databases: AtomicU32,
}

static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());

impl Cluster {
    /// A running server that trusts everybody.
    ///
    /// # Errors
    /// Postgres is not installed, or does not start.
    pub fn start() -> Result<Self, ClusterError> {
        Self::with(ClusterOptions::default())
    }

    /// The server that the tests of one process share: it lives until the last of them drops it. For tests that only use it;
    /// one that stops or freezes it needs its own.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn shared() -> Result<Arc<Self>, ClusterError> {
        let mut shared = SHARED.lock();
        if let Some(running) = shared.upgrade() {
            return Ok(running);
        }
        let started = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&started);
        Ok(started)
    }

    /// A running server.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn with(options: ClusterOptions) -> Result<Self, ClusterError> {
        let bin = find_bin().ok_or(ClusterError::NotInstalled)?;
        let account = Account::for_server()?;
        let dir = tempfile::Builder::new()
            .prefix("gmr-pg-")
            .tempdir()
            .map_err(io_error("a temporary directory"))?;
        if let Some(account) = &account {
            account.own(dir.path())?;
        }
        let mut cluster = Self {
            dir,
            bin,
            account,
            options,
            port: 0,
            server: Mutex::new(None),
            databases: AtomicU32::new(0),
        };
        cluster.init()?;
        let mut tries = 0;
        loop {
            cluster.port = free_port()?;
            tries += 1;
            match cluster.start_again() {
                Err(error) if tries == PORT_TRIES => return Err(error),
                Err(_) => {}
                Ok(()) => return Ok(cluster),
            }
        }
    }

    fn init(&self) -> Result<(), ClusterError> {
        let password_file = self.dir.path().join("password");
        std::fs::write(&password_file, SUPERUSER_PASSWORD)
            .map_err(io_error("the password file"))?;
        if let Some(account) = &self.account {
            account.own(&password_file)?;
        }
        let mut initdb = process::command(self.account.as_ref(), &self.bin.join("initdb"));
        initdb
            .args([
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C",
                "--username=postgres",
            ])
            .args([
                "--auth-local=trust",
                "--auth-host=scram-sha-256",
                "--pwfile",
            ])
            .arg(&password_file)
            .arg("--pgdata")
            .arg(self.data());
        run(initdb, "initdb")?;
        self.admit_in_file()
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn admit_in_file(&self) -> Result<(), ClusterError> {
        self.write_hba(if self.options.passwords {
            "scram-sha-256"
        } else {
            "trust"
        })
    }

    fn write_hba(&self, loopback: &str) -> Result<(), ClusterError> {
        let text = format!("local all all trust\nhost all all 127.0.0.1/32 {loopback}\n");
        std::fs::write(self.data().join("pg_hba.conf"), text).map_err(io_error("pg_hba.conf"))
    }

    /// Starts the server again, on the same port, after [`Cluster::stop`]. Does nothing while it runs.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_again(&self) -> Result<(), ClusterError> {
        let mut server = self.server.lock();
        if server.is_some() {
            return Ok(());
        }
        let mut command = process::command(self.account.as_ref(), &self.bin.join("postgres"));
        command.arg("-D").arg(self.data());
        let settings = [
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", self.dir.path().display()),
            format!("max_connections={}", self.options.max_connections),
            "fsync=off".to_owned(),
            "full_page_writes=off".to_owned(),
            "synchronous_commit=off".to_owned(),
            "shared_buffers=16MB".to_owned(),
            "logging_collector=off".to_owned(),
            "log_min_messages=warning".to_owned(),
        ];
        for setting in settings.iter().chain(&self.options.settings) {
            command.arg("-c").arg(setting);
        }
        *server = Some(Server::start(command)?);
        Ok(())
    }

    /// Stops the server: clients are disconnected, new ones refused by the system.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn stop(&self) -> Result<(), ClusterError> {
        match self.server.lock().take() {
            Some(server) => server.stop(),
            None => Ok(()),
        }
    }

    /// Freezes every process of the server: connections stay, new ones are taken by the system, nothing is answered.
    ///
    /// # Errors
    /// A signal could not be sent.
    pub fn freeze(&self) -> Result<(), ClusterError> {
        self.server.lock().as_ref().map_or(Ok(()), Server::freeze)
    }

    /// Lets a frozen server go on.
    ///
    /// # Errors
    /// A signal could not be sent.
    pub fn thaw(&self) -> Result<(), ClusterError> {
        self.server.lock().as_ref().map_or(Ok(()), Server::thaw)
    }

    /// From now on the loopback is refused by `pg_hba.conf`, and who is connected there is disconnected.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn refuse(&self) -> Result<(), ClusterError> {
        self.write_hba("reject")?;
        self.query("postgres", "SELECT pg_reload_conf()")?;
        // The reload is a signal: a refused connection shows that it has taken effect.
        let probe = format!(
            "postgresql://postgres:{SUPERUSER_PASSWORD}@127.0.0.1:{}/postgres",
            self.port
        );
        process::until("refusing", || {
            let refused = psql(&self.bin, &probe, "SELECT 1").is_err();
            refused.then_some(())
        })?;
        // A connection that was being authenticated under the rules before is listed only once it is there: none may come for a while.
        let mut free_rounds = 0;
        process::until("free of clients", || {
            let ended = self.query(
                "postgres",
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE client_addr IS NOT NULL",
            );
            let is_free = ended.is_ok_and(|count| count.trim() == "0");
            free_rounds = if is_free { free_rounds + 1 } else { 0 };
            (free_rounds == FREE_ROUNDS).then_some(())
        })
    }

    /// Undoes [`Cluster::refuse`].
    ///
    /// # Errors
    /// The server does not answer.
    pub fn admit(&self) -> Result<(), ClusterError> {
        self.admit_in_file()?;
        self.query("postgres", "SELECT pg_reload_conf()")?;
        Ok(())
    }

    /// Terminates the backends of an application, in every database. How many there were.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn terminate_backends(&self, application_name: &str) -> Result<u32, ClusterError> {
        let name = application_name.replace('\'', "''");
        let count = self.query(
            "postgres",
            &format!(
                "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE application_name = '{name}' AND pid <> pg_backend_pid()"
            ),
        )?;
        Ok(count.parse().unwrap_or(0))
    }

    /// Runs SQL through `psql`, as the superuser and over the socket. What it printed: rows as lines, fields apart by `|`.
    ///
    /// # Errors
    /// The server refused it; the error holds its answer.
    pub fn query(&self, database: &str, sql: &str) -> Result<String, ClusterError> {
        psql(&self.bin, &self.socket_url("postgres", database), sql)
    }

    /// Runs SQL through `psql` as another role (see [`Cluster::role_url`]).
    ///
    /// # Errors
    /// The server refused it; the error holds its answer.
    pub fn query_at(&self, url: &str, sql: &str) -> Result<String, ClusterError> {
        psql(&self.bin, url, sql)
    }

    /// Creates a database.
    ///
    /// # Errors
    /// There is one of this name.
    pub fn create_database(&self, name: &str) -> Result<(), ClusterError> {
        self.query("postgres", &format!("CREATE DATABASE \"{name}\""))?;
        Ok(())
    }

    /// Creates a database of a name that nobody else has.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn fresh_database(&self) -> Result<String, ClusterError> {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        self.create_database(&name)?;
        Ok(name)
    }

    /// Creates a role that may log in and nothing else.
    ///
    /// # Errors
    /// There is one of this name.
    pub fn create_role(&self, name: &str, password: &str) -> Result<(), ClusterError> {
        let password = password.replace('\'', "''");
        let sql = format!("CREATE ROLE \"{name}\" LOGIN PASSWORD '{password}'");
        self.query("postgres", &sql)?;
        Ok(())
    }

    /// Where the superuser reaches a database over the loopback.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.role_url("postgres", SUPERUSER_PASSWORD, database)
    }

    /// Where a role reaches a database over the loopback.
    #[must_use]
    pub fn role_url(&self, role: &str, password: &str, database: &str) -> String {
        format!(
            "postgres://{role}:{password}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// Where a role reaches a database over the unix socket.
    #[must_use]
    pub fn socket_url(&self, role: &str, database: &str) -> String {
        let dir = self.dir.path().display().to_string().replace('/', "%2F");
        format!("postgres://{role}@{dir}:{}/{database}", self.port)
    }

    /// The port on the loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the server's first process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.server.lock().as_ref().map(Server::pid)
    }

    /// The directory of the server's programs (`psql`, `pg_dump`).
    #[must_use]
    pub fn bin(&self) -> &Path {
        &self.bin
    }
}

fn free_port() -> Result<u16, ClusterError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(io_error("a free port"))?;
    Ok(listener
        .local_addr()
        .map_err(io_error("a free port"))?
        .port())
}
