//! A router as a real process in a folder of its own: started, asked, killed, started again, and ended without a trace.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{Config, Session, peers, processes, until};

/// A start: a large binary on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(30);

/// An end: draining (10 s), SIGTERM (5 s), the kill of the tree, and the rest.
const END_WITHIN: Duration = Duration::from_secs(40);

/// Longest answer of `/api`.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Lines of the log that a failing test shows.
const TAIL_LINES: usize = 60;

/// See the module. Dropped without [`Router::end`] it takes everything down that it started, by SIGKILL.
#[derive(Debug)]
pub struct Router {
    home: TempDir,
    environment: Vec<(String, String)>,
    child: Option<Child>,
    address: SocketAddr,
    http: reqwest::Client,
}

impl Router {
    /// Starts a router with this configuration.
    pub async fn start(config: &Config) -> Self {
        Self::start_with(config, &[]).await
    }

    /// Starts a router with this configuration and these variables.
    pub async fn start_with(config: &Config, environment: &[(&str, &str)]) -> Self {
        let mut router = Self::prepared(config, environment);
        router.start_again().await;
        router
    }

    /// Gives it a variable from its next start on.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Runs one of the program's commands with this router's configuration, and waits for its end.
    pub async fn run(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = self.command();
        command
            .args(arguments)
            .arg("--config")
            .arg(self.config_path())
            .stdin(Stdio::null());
        let output = tokio::time::timeout(END_WITHIN, command.kill_on_drop(true).output()).await;
        output
            .unwrap_or_else(|_| panic!("{arguments:?} has not ended"))
            .unwrap()
    }

    /// A folder with a configuration, whose router is not started yet.
    pub fn prepared(config: &Config, environment: &[(&str, &str)]) -> Self {
        let home = new_home();
        for folder in ["data", "logs", "s", "plugins"] {
            fs::create_dir_all(home.path().join(folder)).unwrap();
        }
        if config.wants_bundled_policy() {
            let to = home.path().join("plugins/default-health.wasm");
            fs::copy(peers::bundled_policy(), to).unwrap();
        }
        for file in config.plugins() {
            let (from, to) = (
                peers::bundled_plugin(file),
                home.path().join("plugins").join(file),
            );
            fs::copy(&from, &to).unwrap();
            let manifest = from.with_extension("toml");
            if manifest.exists() {
                fs::copy(manifest, to.with_extension("toml")).unwrap();
            }
        }
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let router = Self {
            home,
            environment: environment.iter().map(own).collect(),
            child: None,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(ANSWER_WITHIN)
                .build()
                .unwrap(),
        };
        router.write_config(config);
        router
    }

    /// Writes another configuration; the router sees it when it reloads or starts.
    pub fn write_config(&self, config: &Config) {
        fs::write(self.config_path(), config.rendered(self.home.path())).unwrap();
    }

    /// Starts a router in the same folder, once the one before is gone.
    pub async fn start_again(&mut self) {
        self.launch();
        self.answers().await;
    }

    /// Starts its process, and waits for nothing: it may be killed before it answers.
    pub fn launch(&mut self) {
        assert!(self.child.is_none(), "the router before has not ended");
        let _ = fs::remove_file(self.listen_file());
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("output"))
            .unwrap();
        let mut command = self.command();
        command
            .args(["serve", "--config"])
            .arg(self.config_path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .kill_on_drop(true);
        if self.address.port() != 0 {
            // A router that comes back is where its clients look for it.
            command.env("LISTEN", self.address.to_string());
        }
        self.child = Some(command.spawn().unwrap());
    }

    /// Where a router says where it listens.
    fn listen_file(&self) -> PathBuf {
        self.path("data/listen")
    }

    /// Waits until a router that was launched answers.
    pub async fn answers(&mut self) {
        let listen = self.listen_file();
        self.address = until("the router's address", START_WITHIN, async || {
            self.assert_running();
            let text = fs::read_to_string(&listen).map_err(|error| error.to_string())?;
            text.trim().parse().map_err(|_| format!("{text:?}"))
        })
        .await;
        until("liveness", START_WITHIN, async || {
            self.assert_running();
            match self.http.get(self.url("/api/health/liveness")).send().await {
                Ok(answer) if answer.status() == StatusCode::OK => Ok(()),
                Ok(answer) => Err(answer.status().to_string()),
                Err(error) => Err(format!("{error:?}")),
            }
        })
        .await;
    }

    /// The program with this router's environment and working directory, without arguments.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(peers::program("godot-mcp-router"));
        command.current_dir(self.home.path()).env_clear();
        for name in ["HOME", "LANG", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let paths = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{paths}", peers::programs().display()));
        command.envs(self.environment.iter().cloned());
        command
    }

    /// The environment of its processes, by name.
    #[must_use]
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let command = self.command();
        let set = command.as_std().get_envs();
        set.filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect()
    }

    fn assert_running(&self) {
        let pid = self.pid();
        assert!(
            processes::is_alive(pid),
            "the router ended by itself:\n{}",
            self.tail()
        );
    }

    /// Its folder.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A path in its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Its configuration file.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.path("router.toml")
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL of it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The address of an instance.
    #[must_use]
    pub fn mcp_url(&self, id: &str) -> String {
        self.url(&format!("/mcp/{id}"))
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        let child = self
            .child
            .as_ref()
            .unwrap_or_else(|| panic!("no router runs"));
        let pid = child
            .id()
            .unwrap_or_else(|| panic!("the router ended:\n{}", self.tail()));
        i32::try_from(pid).unwrap()
    }

    /// Everything it has logged to its file so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("logs/godot-mcp-router.log")).unwrap_or_default()
    }

    /// The end of what it wrote, for people who look at a failed test.
    #[must_use]
    pub fn tail(&self) -> String {
        let text = fs::read(self.path("output")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Asks `/api`, whatever comes of it. An answer that is no JSON is a string.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.http.request(method.clone(), self.url(path));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await;
        let answer =
            answer.unwrap_or_else(|error| panic!("{method} {path}: {error:?}\n{}", self.tail()));
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    /// Reads something that has to be there.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::GET, path, None).await;
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// Does something that has to succeed.
    pub async fn post(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::POST, path, None).await;
        assert!(
            status.is_success(),
            "POST {path}: {status} {body}\n{}",
            self.tail()
        );
        body
    }

    /// The story of an alert, in sentences.
    pub async fn explain(&self, alert: &Value) -> String {
        let mut command = self.command();
        command
            .args(["alerts", "explain", alert["id"].as_str().unwrap()])
            .env("GODOT_MCP_ROUTER_URL", self.url(""));
        let output = command.output().await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Readiness, whatever its status.
    pub async fn readiness(&self) -> Value {
        self.ask(Method::GET, "/api/health/readiness", None).await.1
    }

    /// One instance as `/api/health/mcp` shows it.
    pub async fn instance(&self, id: &str) -> Value {
        let fleet = self.get("/api/health/mcp").await;
        let all = fleet["instances"]
            .as_array()
            .unwrap_or_else(|| panic!("{fleet}"));
        let found = all.iter().find(|one| one["versionId"] == id);
        found
            .unwrap_or_else(|| panic!("no instance {id} in {fleet}"))
            .clone()
    }

    /// Waits for an instance to be as wanted.
    pub async fn instance_until(
        &self,
        id: &str,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        until(&format!("instance {id} to be {what}"), within, async || {
            let one = self.instance(id).await;
            if wanted(&one) {
                Ok(one)
            } else {
                Err(format!("{one}\n{}", self.tail()))
            }
        })
        .await
    }

    /// Waits for an instance to be ready.
    pub async fn ready(&self, id: &str) -> Value {
        let within = Duration::from_secs(60);
        self.instance_until(id, "ready", within, |one| one["lifecycle"] == "ready")
            .await
    }

    /// Waits for an instance to be ready in another process than before.
    pub async fn ready_anew(&self, id: &str, before: i32) -> Value {
        let within = Duration::from_secs(60);
        self.instance_until(id, "ready anew", within, |one| {
            one["lifecycle"] == "ready" && pid_of(one) != before
        })
        .await
    }

    /// Waits until none of these processes lives any more.
    pub async fn gone(&self, pids: &[i32]) {
        until(&format!("the end of {pids:?}"), END_WITHIN, async || {
            let alive = |pid: &&i32| processes::is_alive(**pid);
            match pids.iter().find(alive) {
                None => Ok(()),
                Some(pid) => Err(format!("{pid} lives\n{}", self.tail())),
            }
        })
        .await;
    }

    /// Waits for a line in its log that holds all of these.
    pub async fn logged(&self, needles: &[&str], within: Duration) -> String {
        until(
            &format!("a log line with {needles:?}"),
            within,
            async || {
                let log = self.log();
                let found = log
                    .lines()
                    .find(|line| needles.iter().all(|needle| line.contains(needle)));
                found.map(str::to_owned).ok_or_else(|| self.tail())
            },
        )
        .await
    }

    /// A client session with an instance.
    pub async fn session(&self, id: &str) -> Session {
        Session::open(&self.mcp_url(id)).await
    }

    /// `kill -9`, and nothing else: what it started goes on.
    pub async fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().await.unwrap();
    }

    /// Asks it to end, and waits.
    pub async fn terminate(&mut self) -> ExitStatus {
        processes::signal(self.pid(), Signal::TERM);
        let mut child = self.child.take().unwrap();
        match tokio::time::timeout(END_WITHIN, child.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!(
                "the router has not ended {END_WITHIN:?} after SIGTERM:\n{}",
                self.tail()
            ),
        }
    }

    /// Stops every instance, ends the router, and looks whether anything of it is left.
    ///
    /// # Panics
    /// It did not end well, or left a process behind.
    pub async fn end(mut self) {
        let fleet = self.get("/api/health/mcp").await;
        for one in fleet["instances"].as_array().unwrap() {
            if one["pid"].is_number() {
                let id = one["versionId"].as_str().unwrap();
                self.post(&format!("/api/instances/{id}/stop")).await;
            }
        }
        let status = self.terminate().await;
        assert!(
            status.success(),
            "the router ended with {status}:\n{}",
            self.tail()
        );
        self.assert_nothing_left().await;
    }

    /// Waits until no process names the router's folder any more.
    pub async fn assert_nothing_left(&self) {
        until(
            "all its processes to be gone",
            Duration::from_secs(15),
            async || {
                let left = processes::touching(self.home.path());
                if left.is_empty() {
                    return Ok(());
                }
                let left: Vec<String> = left.iter().map(ToString::to_string).collect();
                Err(format!("{left:#?}\n{}", self.tail()))
            },
        )
        .await;
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the router's last words:\n{}", self.tail());
        }
        drop(self.child.take());
        // What is left is killed, twice, since a shim may start something meanwhile.
        for _ in 0..2 {
            for process in processes::touching(self.home.path()) {
                processes::kill(process.pid);
            }
        }
    }
}

/// The process of an instance, as the API shows it.
///
/// # Panics
/// It has none.
#[must_use]
pub fn pid_of(instance: &Value) -> i32 {
    let pid = instance["pid"].as_i64();
    let pid = pid.unwrap_or_else(|| panic!("no pid: {instance}"));
    i32::try_from(pid).unwrap()
}

/// A folder for a router. Its path is short, for socket paths are.
#[must_use]
pub fn new_home() -> TempDir {
    tempfile::Builder::new().prefix("gmr-").tempdir().unwrap()
}
