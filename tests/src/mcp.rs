//! An MCP client over streamable HTTP, by hand: so that a scenario sees what really comes back.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode, header::HeaderMap};
use serde_json::{Value, json};

/// A first call may have to start its instance.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);

/// A message on a stream: nothing is between it and us but the router and its instance.
const HEARD_WITHIN: Duration = Duration::from_secs(20);

/// The newest protocol version of the era that begins with `initialize`.
pub const PROTOCOL: &str = "2025-11-25";

/// An answer that was read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its messages: one, or as many as its event stream held.
    pub messages: Vec<Value>,
    /// Its body as it came.
    pub text: String,
}

impl Answer {
    async fn read(response: Response) -> Self {
        let status = response.status();
        let headers = response.headers().clone();
        let text = response.text().await.unwrap();
        let kind = headers
            .get("content-type")
            .and_then(|kind| kind.to_str().ok());
        let messages = if kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
            data.filter_map(|line| serde_json::from_str(line.trim()).ok())
                .collect()
        } else {
            serde_json::from_str(&text).into_iter().collect()
        };
        Self {
            status,
            headers,
            messages,
            text,
        }
    }

    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The response among its messages; null where there is none.
    #[must_use]
    pub fn response(&self) -> Value {
        let mut responses = self
            .messages
            .iter()
            .filter(|message| message.get("id").is_some() && message.get("method").is_none());
        responses.next().cloned().unwrap_or_default()
    }
}

/// A session, or the wish for one.
#[derive(Debug, Clone)]
pub struct Session {
    http: reqwest::Client,
    /// The instance's address.
    pub url: String,
    /// The session's id.
    pub id: Option<String>,
    /// The bearer token sent along.
    pub token: Option<String>,
    next: u64,
}

impl Session {
    /// A client without a session.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER_WITHIN);
        Self {
            http: http.build().unwrap(),
            url: url.to_owned(),
            id: None,
            token: None,
            next: 0,
        }
    }

    /// A client that has initialized.
    pub async fn open(url: &str) -> Self {
        let mut session = Self::new(url);
        session.initialize().await;
        session
    }

    /// `initialize`, and that it is done.
    pub async fn initialize(&mut self) -> Value {
        let answer = self.post(&initialize(0)).await;
        assert_eq!(
            answer.status, 200,
            "initialize at {}: {}",
            self.url, answer.text
        );
        self.id = answer.header("mcp-session-id").map(str::to_owned);
        let done = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let accepted = self.post(&done).await;
        assert_eq!(accepted.status, 202, "{}", accepted.text);
        answer.response()
    }

    /// A request as a well-behaved client would send it.
    pub fn request(&self, method: Method) -> RequestBuilder {
        let mut request = self
            .http
            .request(method, &self.url)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", PROTOCOL);
        if let Some(id) = &self.id {
            request = request.header("mcp-session-id", id);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        request
    }

    /// Posts one message.
    ///
    /// # Errors
    /// Nothing came back.
    pub async fn try_post(&self, message: &Value) -> Result<Answer, reqwest::Error> {
        let request = self.request(Method::POST).json(message);
        Ok(Answer::read(request.send().await?).await)
    }

    /// Posts one message, which has to be answered.
    pub async fn post(&self, message: &Value) -> Answer {
        let answer = self.try_post(message).await;
        answer.unwrap_or_else(|error| panic!("{message} to {}: {error:?}", self.url))
    }

    /// Sends a request, and returns the whole JSON-RPC response.
    pub async fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.next += 1;
        let request =
            json!({"jsonrpc": "2.0", "id": self.next, "method": method, "params": params});
        let answer = self.post(&request).await;
        let response = answer.response();
        assert_eq!(
            response["id"], self.next,
            "{method}: {} {}",
            answer.status, answer.text
        );
        response
    }

    /// Calls a tool, which has to succeed; returns its first text.
    pub async fn call(&mut self, tool: &str, arguments: &Value) -> String {
        let response = self.try_call(tool, arguments).await;
        let text = response["result"]["content"][0]["text"].as_str();
        text.unwrap_or_else(|| panic!("{tool}: {response}"))
            .to_owned()
    }

    /// Calls a tool, and returns the whole JSON-RPC response.
    pub async fn try_call(&mut self, tool: &str, arguments: &Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        self.ask("tools/call", &params).await
    }

    /// Opens the stream on which it hears what belongs to none of its requests.
    pub async fn listen(&self) -> Stream {
        let request = self.request(Method::GET);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        Stream {
            response,
            text: String::new(),
        }
    }

    /// Ends the session.
    pub async fn close(self) -> StatusCode {
        self.request(Method::DELETE).send().await.unwrap().status()
    }
}

/// What an instance says to a session outside of its requests: the stream of a GET.
#[derive(Debug)]
pub struct Stream {
    response: Response,
    text: String,
}

impl Stream {
    /// The next message.
    ///
    /// # Panics
    /// It did not come in time, or the stream ended.
    pub async fn next(&mut self) -> Value {
        loop {
            while let Some((line, rest)) = self.text.split_once('\n') {
                let message = line.strip_prefix("data:").map(str::trim);
                let message = message.and_then(|data| serde_json::from_str(data).ok());
                self.text = rest.to_owned();
                if let Some(message) = message {
                    return message;
                }
            }
            let chunk = tokio::time::timeout(HEARD_WITHIN, self.response.chunk()).await;
            let chunk =
                chunk.unwrap_or_else(|_| panic!("nothing was heard within {HEARD_WITHIN:?}"));
            let chunk = chunk.unwrap().unwrap_or_else(|| panic!("the stream ended"));
            self.text.push_str(&String::from_utf8_lossy(&chunk));
        }
    }
}

/// An `initialize` request.
#[must_use]
pub fn initialize(id: u64) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "initialize", "params": {
        "protocolVersion": PROTOCOL,
        "capabilities": {},
        "clientInfo": {"name": "scenario", "version": "1.0.0"},
    }})
}
