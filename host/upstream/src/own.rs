//! The router's own requests to an instance: the handshake, the tool list, pings, and finding the beginning of a line after an adoption.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::{
    envelope::{Envelope, member, string_of},
    handshake::Handshake,
    protocol::ProtocolVersion,
    reply::{CallError, Reply, ReplySink},
    state::{AnswerEffect, ConnectionState, PendingRequest, RequestOrigin},
    upstream::Upstream,
};

/// What the router declares on behalf of all clients to come, so that the instance may ask any of them.
const CLIENT_CAPABILITIES: &str = r#"{"roots":{"listChanged":true},"sampling":{"context":{},"tools":{}},"elicitation":{"form":{},"url":{}}}"#;

/// Longest name of a tool that is kept. Clients refuse names past 128 characters.
const TOOL_NAME_BYTES_MAX: usize = 1024;

/// JSON-RPC 2.0, section 5.1.
const METHOD_NOT_FOUND: i64 = -32601;

/// Why a request of the router's own has no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OwnCallError {
    /// It was not answered.
    #[error("{method} of instance {instance} was not answered")]
    Unanswered {
        /// What was asked.
        method: &'static str,
        /// Of which instance.
        instance: router_core::InstanceId,
        /// Why not.
        #[source]
        error: CallError,
    },
    /// It was answered with an error.
    #[error("instance {instance} answered {method} with error {code}: {message}")]
    Refused {
        /// What was asked.
        method: &'static str,
        /// Who refused.
        instance: router_core::InstanceId,
        /// The JSON-RPC code.
        code: i64,
        /// Its message.
        message: String,
    },
    /// The answer is not what the protocol prescribes.
    #[error("instance {instance} answered {method} with something else: {reason}")]
    Malformed {
        /// What was asked.
        method: &'static str,
        /// Who answered.
        instance: router_core::InstanceId,
        /// What is wrong.
        reason: String,
    },
}

impl Upstream {
    /// Sends `initialize`, once in the life of an instance's process, and `notifications/initialized`.
    ///
    /// # Errors
    /// No answer within `timeout`, an error, or a protocol version that is not served.
    pub async fn handshake(&self, timeout: Duration) -> Result<Handshake, OwnCallError> {
        const METHOD: &str = "initialize";
        let params = format!(
            r#"{{"protocolVersion":"{}","capabilities":{CLIENT_CAPABILITIES},"clientInfo":{{"name":"godot-mcp-router","version":"{}"}}}}"#,
            ProtocolVersion::LATEST,
            env!("CARGO_PKG_VERSION"),
        );
        let result = self.ask(METHOD, &params, timeout).await?;
        let handshake =
            Handshake::from_result(&result).map_err(|reason| self.malformed(METHOD, reason))?;
        self.state
            .lock()
            .send_line(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        self.wake_writer();
        let _ = self.described.set(handshake.clone());
        Ok(handshake)
    }

    /// Takes over the handshake of an earlier router; call [`Upstream::resync`] next. To be called before the
    /// connection's future is first polled.
    pub fn adopt(&self, handshake: Handshake) {
        self.tolerates_broken_line.store(true, Ordering::Relaxed);
        let _ = self.described.set(handshake);
    }

    /// Finds the beginning of a line in both directions after an adoption: ends what an earlier router may have half
    /// written, and pings. What comes back first is kept only if it is a message.
    ///
    /// # Errors
    /// No answer within `timeout`.
    pub async fn resync(&self, timeout: Duration) -> Result<Duration, OwnCallError> {
        self.state.lock().out.push(b'\n');
        self.ping(timeout).await
    }

    /// Asks whether the instance is there, and returns how long the answer took. Any answer counts, also an error: not
    /// every server knows the method.
    ///
    /// # Errors
    /// No answer within `timeout`.
    pub async fn ping(&self, timeout: Duration) -> Result<Duration, OwnCallError> {
        let begun = Instant::now();
        self.error_code_of("ping", timeout).await?;
        Ok(begun.elapsed())
    }

    /// Like [`Upstream::ping`], but a server that does not know `ping` must answer `tools/list` (its first page) in the time that
    /// is left: that it refuses a method says only that its dispatcher lives, and a breaker is about to let callers in.
    ///
    /// # Errors
    /// No answer to the last of them within `timeout`.
    pub async fn ping_or_list(&self, timeout: Duration) -> Result<Duration, OwnCallError> {
        let begun = Instant::now();
        if self.error_code_of("ping", timeout).await? == Some(METHOD_NOT_FOUND) {
            let left = timeout.saturating_sub(begun.elapsed());
            self.error_code_of("tools/list", left).await?;
        }
        Ok(begun.elapsed())
    }

    /// Asks, and returns the error code of the answer, where it is an error.
    async fn error_code_of(
        &self,
        method: &'static str,
        timeout: Duration,
    ) -> Result<Option<i64>, OwnCallError> {
        match self.ask(method, "{}", timeout).await {
            Ok(_) => Ok(None),
            Err(OwnCallError::Refused { code, .. }) => Ok(Some(code)),
            Err(error) => Err(error),
        }
    }

    /// Reads the names of all tools, page by page. An instance that offers none has none.
    ///
    /// # Errors
    /// No answer within `timeout` in all, an error, or more pages or tools than [`crate::UpstreamLimits`] allows.
    pub async fn tools(&self, timeout: Duration) -> Result<Vec<String>, OwnCallError> {
        const METHOD: &str = "tools/list";
        if self
            .described()
            .is_some_and(|handshake| !handshake.offers("tools"))
        {
            return Ok(Vec::new());
        }
        let deadline = Instant::now() + timeout;
        let mut names = Vec::new();
        let mut params = "{}".to_owned();
        for _ in 0..self.config.limits.tool_pages_max {
            let left = deadline.saturating_duration_since(Instant::now());
            let page = match self.ask(METHOD, &params, left).await {
                // It declared tools, yet does not know the method: it has none.
                Err(OwnCallError::Refused { code, .. }) if code == METHOD_NOT_FOUND => {
                    return Ok(names);
                }
                page => page?,
            };
            let cursor =
                read_tools(&page, &mut names).map_err(|reason| self.malformed(METHOD, reason))?;
            if names.len() > self.config.limits.tools_max {
                let reason = format!("it has more than {} tools", self.config.limits.tools_max);
                return Err(self.malformed(METHOD, reason));
            }
            match cursor {
                Some(cursor) => params = format!("{{\"cursor\":{cursor}}}"),
                None => return Ok(names),
            }
        }
        let reason = format!(
            "its list has more than {} pages",
            self.config.limits.tool_pages_max
        );
        Err(self.malformed(METHOD, reason))
    }

    /// Sends a request of the router's own and returns the raw result.
    async fn ask(
        &self,
        method: &'static str,
        params: &str,
        timeout: Duration,
    ) -> Result<String, OwnCallError> {
        let unanswered = |error| OwnCallError::Unanswered {
            method,
            instance: self.config.instance.clone(),
            error,
        };
        let deadline = Instant::now() + timeout;
        let (sender, receiver) = oneshot::channel();
        let reply = Arc::new(OwnReply {
            sender: Mutex::new(Some(sender)),
        });
        let n = {
            let mut state = self.state.lock();
            if let Some(closed) = &state.closed {
                return Err(unanswered(CallError::Lost(closed.clone())));
            }
            self.send_own(&mut state, method, params, timeout, reply)
        };
        let _forget = ForgetOnDrop { upstream: self, n };
        self.wake_writer();
        let reply = match timeout_at(deadline, receiver).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) | Err(_) => Reply::Failed(CallError::TimedOut { after: timeout }),
        };
        match reply {
            Reply::Failed(error) => Err(unanswered(error)),
            Reply::Answer { message, .. } => self.read_answer(method, &message),
        }
    }

    fn read_answer(&self, method: &'static str, message: &Bytes) -> Result<String, OwnCallError> {
        let (_, envelope) =
            Envelope::parse(message).map_err(|error| self.malformed(method, error.to_string()))?;
        if let Some(error) = envelope.error {
            let text = member(error, "message").ok().flatten().and_then(string_of);
            return Err(OwnCallError::Refused {
                method,
                instance: self.config.instance.clone(),
                code: envelope.error_code().unwrap_or(0),
                message: text
                    .unwrap_or(Cow::Borrowed("no message"))
                    .chars()
                    .take(500)
                    .collect(),
            });
        }
        let result = envelope
            .result
            .ok_or_else(|| self.malformed(method, "it has no result".into()))?;
        Ok(result.to_owned())
    }

    /// Queues a request of the router's own, and returns its id.
    pub(crate) fn send_own(
        &self,
        state: &mut ConnectionState,
        method: &'static str,
        params: &str,
        timeout: Duration,
        reply: Arc<dyn ReplySink>,
    ) -> u64 {
        let n = state.draw_request_id();
        state.send_line(&format!(
            r#"{{"jsonrpc":"2.0","id":{n},"method":"{method}","params":{params}}}"#
        ));
        let now = Instant::now();
        state.put_pending(
            n,
            PendingRequest {
                session: None,
                origin: RequestOrigin::own(),
                method: Cow::Borrowed(method),
                since: now,
                // The asker's own deadline comes first; this one only bounds the table where the asker does not care.
                deadline: now + timeout + Duration::from_secs(1),
                // The instance is not sent a cancellation: the specification forbids to cancel `initialize`.
                is_cancelled: true,
                is_waiting_reported: true,
                effect: AnswerEffect::Nothing,
                reply,
            },
        );
        self.has_deadlines.notify_one();
        n
    }

    fn malformed(&self, method: &'static str, reason: String) -> OwnCallError {
        OwnCallError::Malformed {
            method,
            instance: self.config.instance.clone(),
            reason,
        }
    }
}

/// Appends the names of one page of tools, and returns the raw cursor of the next page.
fn read_tools(page: &str, names: &mut Vec<String>) -> Result<Option<String>, String> {
    #[derive(serde::Deserialize)]
    struct Tool {
        name: String,
    }
    #[derive(serde::Deserialize)]
    struct ToolsPage {
        tools: Vec<Tool>,
    }
    let tools: ToolsPage = serde_json::from_str(page).map_err(|error| error.to_string())?;
    if let Some(tool) = tools
        .tools
        .iter()
        .find(|tool| tool.name.len() > TOOL_NAME_BYTES_MAX)
    {
        return Err(format!("a tool's name has {} bytes", tool.name.len()));
    }
    names.extend(tools.tools.into_iter().map(|tool| tool.name));
    let cursor = member(page, "nextCursor").map_err(|error| error.to_string())?;
    Ok(cursor.filter(|raw| raw.starts_with('"')).map(str::to_owned))
}

struct OwnReply {
    sender: Mutex<Option<oneshot::Sender<Reply>>>,
}

impl ReplySink for OwnReply {
    fn interleave(&self, _: &str) -> bool {
        false
    }
    fn finish(&self, reply: Reply) {
        if let Some(sender) = self.sender.lock().take() {
            // The caller may have given up meanwhile.
            let _ = sender.send(reply);
        }
    }
}

struct ForgetOnDrop<'a> {
    upstream: &'a Upstream,
    n: u64,
}

impl Drop for ForgetOnDrop<'_> {
    fn drop(&mut self) {
        self.upstream.state.lock().take_pending(self.n);
    }
}
