//! One HTTP/1.1 connection, kept alive, with as little in between as can be: what load is made with. It understands what a router
//! answers (a length, chunks, JSON or server-sent events) and takes nothing else.

use std::{fmt, net::SocketAddr, time::Duration};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Longest answer that is read. The largest that a scenario asks for is a megabyte.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Longest wait for an answer, below the router's own for a tool call, so that a hang is seen as one.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug)]
pub struct Broken(pub String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its session id, where it brought one.
    pub session: Option<String>,
    /// Its body; of events only their data, one line each.
    pub body: Vec<u8>,
}

/// See the module.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    read: BytesMut,
    address: SocketAddr,
    path: String,
    /// The session's id, sent along.
    pub session: Option<String>,
    head: String,
}

impl Wire {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens.
    pub async fn connect(address: SocketAddr, path: &str) -> Result<Self, Broken> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            read: BytesMut::with_capacity(16 * 1024),
            address,
            path: path.to_owned(),
            session: None,
            head: String::new(),
        })
    }

    /// Posts a body and reads the answer.
    ///
    /// # Errors
    /// The connection broke, the answer is none, or it did not come in time.
    pub async fn post(&mut self, body: &[u8]) -> Result<Answer, Broken> {
        use fmt::Write as _;
        self.head.clear();
        let session = self.session.as_ref().map_or_else(String::new, |id| {
            format!(
                "Mcp-Session-Id: {id}\r\nMCP-Protocol-Version: {}\r\n",
                crate::mcp::PROTOCOL
            )
        });
        let _ = write!(
            self.head,
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\n{session}Content-Length: {}\r\n\r\n",
            self.path,
            self.address,
            body.len()
        );
        let mut request = std::mem::take(&mut self.head).into_bytes();
        request.extend_from_slice(body);
        let answered = async {
            self.stream.write_all(&request).await?;
            self.answer().await
        };
        match tokio::time::timeout(ANSWER_WITHIN, answered).await {
            Ok(answer) => answer,
            Err(_) => Err(Broken(format!("no answer within {ANSWER_WITHIN:?}"))),
        }
    }

    async fn more(&mut self) -> Result<(), Broken> {
        if self.read.len() > ANSWER_BYTES_MAX {
            return Err(Broken("the answer is too long".to_owned()));
        }
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(Broken(
                "the connection was closed before the answer ended".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    async fn until(&mut self, end: &[u8]) -> Result<usize, Broken> {
        loop {
            if let Some(at) = self
                .read
                .windows(end.len())
                .position(|window| window == end)
            {
                return Ok(at);
            }
            self.more().await?;
        }
    }

    async fn answer(&mut self) -> Result<Answer, Broken> {
        let end = self.until(b"\r\n\r\n").await?;
        let head = String::from_utf8_lossy(&self.read[..end]).into_owned();
        self.read.advance(end + 4);
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| Broken(format!("no status line: {first:?}")))?;
        let (mut length, mut chunked, mut events, mut session) = (0, false, false, None);
        for line in lines {
            let (name, value) = line.split_once(':').unwrap_or_default();
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap_or(0),
                "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
                "content-type" => events = value.starts_with("text/event-stream"),
                "mcp-session-id" => session = Some(value.to_owned()),
                _ => {}
            }
        }
        let mut body = if chunked {
            self.chunks().await?
        } else {
            while self.read.len() < length {
                self.more().await?;
            }
            self.read.split_to(length).to_vec()
        };
        if events {
            body = data_of(&body);
        }
        Ok(Answer {
            status,
            session,
            body,
        })
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, Broken> {
        let mut body = Vec::new();
        loop {
            let end = self.until(b"\r\n").await?;
            let line = String::from_utf8_lossy(&self.read[..end]).into_owned();
            let length =
                usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16);
            let length = length.map_err(|_| Broken(format!("no chunk: {line:?}")))?;
            self.read.advance(end + 2);
            while self.read.len() < length + 2 {
                self.more().await?;
            }
            body.extend_from_slice(&self.read[..length]);
            self.read.advance(length + 2);
            if length == 0 {
                return Ok(body);
            }
        }
    }
}

fn data_of(events: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    for line in events.split(|&byte| byte == b'\n') {
        if let Some(rest) = line.strip_prefix(b"data:") {
            data.extend_from_slice(rest.trim_ascii());
            data.push(b'\n');
        }
    }
    data
}
