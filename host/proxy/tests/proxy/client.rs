//! A plain HTTP client that speaks MCP by hand.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

/// Long enough for a busy machine, short enough to fail loudly.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that must come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    pub(crate) url: String,
    pub(crate) session: Option<String>,
    pub(crate) version: String,
    /// Who calls, to the access rules that stand in front of the product.
    pub(crate) caller: Option<&'static str>,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn message(&self) -> &str {
        self.body["error"]["message"]
            .as_str()
            .unwrap_or_else(|| panic!("no error: {self:?}"))
    }
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: String,
    /// Null for a priming event.
    pub(crate) message: Value,
}

/// An answer that is a stream.
pub(crate) struct Events {
    response: Response,
    buffer: String,
}

impl Client {
    pub(crate) fn new(url: String) -> Self {
        Self {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            url,
            session: None,
            version: "2025-11-25".to_owned(),
            caller: None,
        }
    }

    /// The request as a well-behaved client would send it.
    pub(crate) fn build(&self, method: Method) -> RequestBuilder {
        let mut request = self
            .http
            .request(method, &self.url)
            .header("accept", "application/json, text/event-stream");
        if let Some(caller) = self.caller {
            request = request.header("x-caller", caller);
        }
        if let Some(session) = &self.session {
            request = request
                .header("mcp-session-id", session)
                .header("mcp-protocol-version", &self.version);
        }
        request
    }

    pub(crate) async fn post(&self, message: &Value) -> Response {
        self.post_text(message.to_string()).await
    }

    pub(crate) async fn post_text(&self, body: impl Into<reqwest::Body>) -> Response {
        let request = self
            .build(Method::POST)
            .header("content-type", "application/json")
            .body(body);
        soon("the head of an answer", request.send()).await.unwrap()
    }

    pub(crate) async fn initialize(&mut self, version: &str) -> Value {
        let capabilities =
            json!({"sampling": {}, "elicitation": {}, "roots": {"listChanged": true}});
        self.initialize_with(version, capabilities).await
    }

    pub(crate) async fn initialize_with(&mut self, version: &str, capabilities: Value) -> Value {
        let client = json!({"name": "test", "version": "0"});
        let params =
            json!({"protocolVersion": version, "capabilities": capabilities, "clientInfo": client});
        let request =
            json!({"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": params});
        let answer = whole(self.post(&request).await).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let session = answer
            .header("mcp-session-id")
            .unwrap_or_else(|| panic!("{answer:?}"));
        self.session = Some(session.to_owned());
        self.version = answer.body["result"]["protocolVersion"]
            .as_str()
            .unwrap()
            .to_owned();
        let done = self.notify("notifications/initialized", json!({})).await;
        assert_eq!(done.status, 202);
        answer.body["result"].clone()
    }

    pub(crate) async fn request(
        &self,
        id: impl Into<Value>,
        method: &str,
        params: Value,
    ) -> Response {
        self.post(&json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params}))
            .await
    }

    /// Calls the tool.
    pub(crate) async fn work(&self, id: impl Into<Value>, arguments: Value) -> Response {
        self.request(
            id,
            "tools/call",
            json!({"name": "work", "arguments": arguments}),
        )
        .await
    }

    /// Calls the tool and expects an answer of JSON.
    pub(crate) async fn work_json(&self, id: impl Into<Value>, arguments: Value) -> Answer {
        whole(self.work(id, arguments).await).await
    }

    pub(crate) async fn notify(&self, method: &str, params: Value) -> Answer {
        whole(
            self.post(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
                .await,
        )
        .await
    }

    pub(crate) async fn get(&self) -> Events {
        self.resume(None).await
    }

    pub(crate) async fn resume(&self, last: Option<&str>) -> Events {
        Events::of(self.get_raw(last).await)
    }

    pub(crate) async fn get_raw(&self, last: Option<&str>) -> Response {
        let mut request = self.build(Method::GET);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        soon("the head of a stream", request.send()).await.unwrap()
    }

    pub(crate) async fn delete(&self) -> StatusCode {
        soon("the end of a session", self.build(Method::DELETE).send())
            .await
            .unwrap()
            .status()
    }
}

/// Reads an answer of JSON, or of nothing.
pub(crate) async fn whole(response: Response) -> Answer {
    let (status, headers) = (response.status(), response.headers().clone());
    let text = soon("the rest of an answer", response.text())
        .await
        .unwrap();
    let body = if text.is_empty() {
        Value::Null
    } else {
        let kind = headers
            .get("content-type")
            .map(|kind| kind.to_str().unwrap().to_owned());
        assert_eq!(kind.as_deref(), Some("application/json"), "{text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    Answer {
        status,
        headers,
        body,
    }
}

impl Events {
    pub(crate) fn of(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            buffer: String::new(),
        }
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        soon("an event", async {
            loop {
                if let Some((block, rest)) = self.buffer.split_once("\n\n") {
                    let event = parse(block);
                    self.buffer = rest.to_owned();
                    if event.is_some() {
                        return event;
                    }
                    continue;
                }
                match self.response.chunk().await {
                    Ok(Some(chunk)) => self.buffer.push_str(std::str::from_utf8(&chunk).unwrap()),
                    Ok(None) | Err(_) => return None,
                }
            }
        })
        .await
    }

    /// The next message, priming events left out.
    pub(crate) async fn message(&mut self) -> Value {
        loop {
            let event = self.next().await.expect("the stream has ended");
            if !event.message.is_null() {
                return event.message;
            }
        }
    }

    pub(crate) async fn rest(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

/// An event; `None` for a comment.
fn parse(block: &str) -> Option<Event> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
    let data = field("data: ")?;
    Some(Event {
        id: field("id: ")
            .unwrap_or_else(|| panic!("an event without id: {block}"))
            .to_owned(),
        message: if data.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(data).unwrap()
        },
    })
}
