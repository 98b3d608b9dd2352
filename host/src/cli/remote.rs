//! Talking to a running router, as its operators' commands do.

use std::{env, fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, redirect};
use serde_json::Value;

/// Longer than any command may take on the router's side.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// Which router.
#[derive(Debug, Clone, Args)]
pub(crate) struct Remote {
    /// The router's address.
    #[arg(
        long,
        global = true,
        env = "GODOT_MCP_ROUTER_URL",
        default_value = "http://127.0.0.1:3002"
    )]
    url: String,
    /// The file of a bearer token, where the router wants one; or the token itself in `GODOT_MCP_ROUTER_TOKEN`. Arguments are no place
    /// for it: everybody on the machine sees them.
    #[arg(long, global = true, env = "GODOT_MCP_ROUTER_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

/// The token itself, where no file is named.
const TOKEN_VARIABLE: &str = "GODOT_MCP_ROUTER_TOKEN";

/// What stands in a path as it is: the unreserved characters (RFC 3986, section 2.3), and `@`, which ids have.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'@');

/// The path of the API that is made of these names, whatever stands in them.
///
/// # Errors
/// One is empty, or would be taken for a step up the path.
pub(crate) fn api_path(names: &[&str]) -> anyhow::Result<String> {
    let mut path = "/api".to_owned();
    for name in names {
        if matches!(*name, "" | "." | "..") {
            bail!("{name:?} is no name");
        }
        path.push('/');
        path.extend(utf8_percent_encode(name, SEGMENT));
    }
    Ok(path)
}

impl Remote {
    /// Asks for JSON; a problem becomes an error with its detail.
    pub(crate) fn json(&self, method: Method, path: &str) -> anyhow::Result<Value> {
        parsed(&self.text(method, path)?, path)
    }

    /// Sends JSON and asks for JSON.
    pub(crate) fn send(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        parsed(&self.wait(self.ask(method, path, Some(body)))?, path)
    }

    /// Asks for text.
    pub(crate) fn text(&self, method: Method, path: &str) -> anyhow::Result<String> {
        self.wait(self.ask(method, path, None))
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        let Some(file) = &self.token_file else {
            return Ok(env::var(TOKEN_VARIABLE)
                .ok()
                .filter(|token| !token.is_empty()));
        };
        let text = fs::read_to_string(file)
            .with_context(|| format!("the token's file {} is not readable", file.display()))?;
        Ok(Some(text.trim().to_owned()))
    }

    fn wait(&self, asking: impl Future<Output = anyhow::Result<String>>) -> anyhow::Result<String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(asking)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<String> {
        let scheme = if self.url.contains("://") {
            ""
        } else {
            "http://"
        };
        let url = format!("{scheme}{}{path}", self.url.trim_end_matches('/'));
        // The token goes to the router and to nobody else: to no proxy of the environment, and to nobody whom an answer names.
        let client = reqwest::Client::builder()
            .timeout(ANSWER_WITHIN)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .build()?;
        let mut request = client.request(method, &url);
        if let Some(token) = self.token()? {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request
            .send()
            .await
            .with_context(|| format!("no router answers at {} (--url)", self.url))?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            let problem: Value = serde_json::from_str(&text).unwrap_or_default();
            let detail = problem["detail"].as_str().unwrap_or(text.trim()).to_owned();
            bail!("{status}: {detail}");
        }
        Ok(text)
    }
}

fn parsed(text: &str, path: &str) -> anyhow::Result<Value> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text).with_context(|| format!("{path} did not answer with JSON"))
}

/// A member that is there, or an error that names it.
pub(crate) fn member<'a>(value: &'a Value, name: &str) -> anyhow::Result<&'a Value> {
    value
        .get(name)
        .ok_or_else(|| anyhow!("the answer has no {name:?}: is that a router of this version?"))
}

/// One cell of a table.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        // What a stranger wrote is one line, and nothing that a terminal obeys.
        Value::String(text) => text.replace(char::is_control, " "),
        other => other.to_string(),
    }
}

/// Rows in aligned columns.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        line.join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::api_path;

    #[test]
    fn a_name_stays_one_segment_of_the_path() {
        for (names, path) in [
            (
                &["instances", "maze@main", "stop"][..],
                "/api/instances/maze@main/stop",
            ),
            (&["instances", "ok/../ok"], "/api/instances/ok%2F..%2Fok"),
            (
                &["plugins", "a?b#c%2e é"],
                "/api/plugins/a%3Fb%23c%252e%20%C3%A9",
            ),
        ] {
            assert_eq!(api_path(names).unwrap(), path);
        }
        for name in ["", ".", ".."] {
            assert!(api_path(&["instances", name]).is_err(), "{name:?}");
        }
    }
}
