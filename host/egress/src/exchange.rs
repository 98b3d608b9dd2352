//! One request and its answer over one connection, in HTTP/1.1, with bounds on the head and the body of the answer. Time is bounded
//! by who calls, and bytes by the connection ([`crate::metered`]).

use std::{error::Error, pin::pin};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header::CONTENT_ENCODING};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;

use crate::{message::EgressError, metered::Stream};

/// Longest head of an answer, in bytes. Slack's is 2 KiB.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Most headers of an answer; beyond them it is none. As many as a sink sees, and as many again.
const ANSWER_HEADERS_MAX: usize = 128;

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Whether the body goes on beyond what was read of it.
    pub(crate) goes_on: bool,
}

/// Sends a request and reads the answer, of its body so many bytes at most. The connection ends with it.
pub(crate) async fn exchange(
    stream: Stream,
    request: Request<Vec<u8>>,
    body_bytes_max: usize,
) -> Result<Answer, EgressError> {
    let request = request.map(|body| Full::new(Bytes::from(body)));
    let broken = |error: hyper::Error| EgressError::Failed(describe(&error));
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(ANSWER_HEADERS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let asked = async {
        let response = sender.send_request(request).await?;
        read(response, body_bytes_max).await
    };
    let (mut asked, connection) = (pin!(asked), pin!(connection));
    let answer = tokio::select! {
        answer = &mut asked => answer,
        // What it read before it ended is still to be had.
        _ = connection => asked.await,
    };
    answer.map_err(broken)
}

async fn read(response: Response<Incoming>, bytes_max: usize) -> hyper::Result<Answer> {
    let (head, mut incoming) = response.into_parts();
    let mut answer = Answer {
        status: head.status,
        headers: head.headers,
        body: Vec::new(),
        goes_on: false,
    };
    // A body in an encoding that was not asked for is not read: no secret would be found in it.
    let mut encodings = answer.headers.get_all(CONTENT_ENCODING).iter();
    if encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Ok(answer);
    }
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        let room = bytes_max - answer.body.len();
        answer.body.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() >= room {
            answer.goes_on = true;
            break;
        }
    }
    Ok(answer)
}

/// An error with what led to it.
fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
