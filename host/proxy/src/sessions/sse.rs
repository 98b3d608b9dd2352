//! An HTTP answer that is a stream of events.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep};

use super::{events::ReaderId, session::Session};

/// A comment, which clients ignore.
const COMMENT: &[u8] = b": keep-alive\n\n";

/// Reads one stream of a session.
struct SseBody {
    session: Arc<Session>,
    reader: ReaderId,
    silence: Pin<Box<Sleep>>,
}

impl http_body::Body for SseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let body = self.get_mut();
        let reader = body.reader;
        let next = body.session.with_log(|log| log.poll_next(reader, context));
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
        let until = Instant::now() + body.session.keep_alive;
        body.silence.as_mut().reset(until);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}

impl Drop for SseBody {
    fn drop(&mut self) {
        self.session.with_log(|log| log.leave(self.reader));
        self.session.touch();
    }
}

/// The answer around a stream of the session.
pub(crate) fn response(session: Arc<Session>, reader: ReaderId) -> Response {
    let silence = Box::pin(sleep(session.keep_alive));
    let mut response = Response::new(Body::new(SseBody {
        session,
        reader,
        silence,
    }));
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
