//! Commands as an operator types them, in bash, beside a router.

use std::time::Duration;

use tokio::process::Command;

use crate::Router;

/// Longest run of one command: the longest waits 35 s by itself.
const RUN_WITHIN: Duration = Duration::from_secs(120);

/// Where documents say that a router listens.
const SAID_ADDRESSES: [&str; 2] = ["localhost:3002", "127.0.0.1:3002"];

/// What a command did.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit code.
    pub code: i32,
    /// What it wrote.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Output {
    /// What it wrote, as JSON values one after the other.
    #[must_use]
    pub fn json(&self) -> Vec<serde_json::Value> {
        let values = serde_json::Deserializer::from_str(&self.stdout).into_iter();
        values
            .collect::<Result<_, _>>()
            .unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }

    /// # Panics
    /// It failed, or complained.
    #[must_use]
    pub fn fine(self) -> Self {
        assert!(self.code == 0, "{self:#?}");
        self
    }
}

/// Runs a text as a script of bash, in the router's folder. Of the text only the address, the socket directory and what is given are
/// replaced, since a test's router has its own.
pub async fn run(router: &Router, text: &str, replacements: &[(&str, &str)]) -> Output {
    let sockets = format!("{}/godot-mcp-", router.path("s").display());
    let address = router.address().to_string();
    let mut text = SAID_ADDRESSES
        .iter()
        .fold(text.to_owned(), |text, said| text.replace(said, &address))
        .replace("/tmp/godot-mcp-", &sockets)
        .replace(
            "find /tmp ",
            &format!("find {} ", router.path("s").display()),
        )
        .replace("config/router.toml", "router.toml");
    for (from, to) in replacements {
        text = text.replace(from, to);
    }
    // From a file: a shell whose command line is the script would find itself with `pgrep -f`.
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(script.path(), &text).unwrap();
    let mut command = Command::new("bash");
    command
        .arg(script.path())
        .current_dir(router.home())
        .env_clear()
        .envs(router.environment())
        .env("GODOT_MCP_ROUTER_URL", router.url(""))
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(RUN_WITHIN, command.output()).await;
    let output = output
        .unwrap_or_else(|_| panic!("not done after {RUN_WITHIN:?}: {text}"))
        .unwrap();
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
