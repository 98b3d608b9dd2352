//! An HTTP answer that is a stream of events.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep};

use crate::{
    events::{ReaderId, StreamId},
    session::Session,
};

/// A comment, which clients ignore.
const COMMENT: &[u8] = b": keep-alive\n\n";

/// Reads one stream of a session.
pub(crate) struct SseBody {
    session: Arc<Session>,
    stream: StreamId,
    reader: ReaderId,
    keep_alive: Duration,
    silence: Pin<Box<Sleep>>,
}

impl SseBody {
    pub(crate) fn new(
        session: Arc<Session>,
        stream: StreamId,
        reader: ReaderId,
        keep_alive: Duration,
    ) -> Self {
        Self {
            session,
            stream,
            reader,
            keep_alive,
            silence: Box::pin(sleep(keep_alive)),
        }
    }
}

impl http_body::Body for SseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let body = self.get_mut();
        let (stream, reader) = (body.stream, body.reader);
        let next = body
            .session
            .with_log(|log| log.poll_next(stream, reader, context));
        let bytes = match next {
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(event)) => event,
            Poll::Pending => {
                if body.silence.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                Bytes::from_static(COMMENT)
            }
        };
        let until = Instant::now() + body.keep_alive;
        body.silence.as_mut().reset(until);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

impl Drop for SseBody {
    fn drop(&mut self) {
        let (stream, reader) = (self.stream, self.reader);
        self.session.with_log(|log| log.leave(stream, reader));
        self.session.touch();
    }
}

/// The answer around a stream.
pub(crate) fn response(body: SseBody) -> Response {
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // nginx holds events back otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
