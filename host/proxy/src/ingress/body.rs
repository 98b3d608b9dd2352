//! Receiving a request's body: whole, bounded in length, in time, and over all clients together for as long as it is kept.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use crate::{
    config::ProxyLimits,
    fault::{FaultKind, RequestFault},
};

/// Bodies up to this length take no part of what all may take together. Nearly every message is shorter, and is let through
/// also where long ones fill that room while they wait for a start. As many as may wait for a start take 16 MiB.
const SHORT_BYTES_MAX: usize = 16 * 1024;

/// Receives bodies.
pub(crate) struct BodyReader {
    body_bytes_max: usize,
    all_bytes_max: usize,
    timeout: Duration,
    /// Bytes of the long bodies that are kept now.
    held_bytes: AtomicUsize,
}

/// A body that was received, with its part of what all bodies may take together. To be kept only until it is sent on.
pub(crate) struct Received<'a> {
    pub(crate) bytes: Bytes,
    _share: Share<'a>,
}

impl BodyReader {
    pub(crate) fn new(limits: &ProxyLimits) -> Self {
        Self {
            body_bytes_max: limits.body_bytes_max,
            all_bytes_max: limits.bodies_bytes_max,
            timeout: limits.body_timeout,
            held_bytes: AtomicUsize::new(0),
        }
    }

    /// Reads a body to its end.
    pub(crate) async fn receive(&self, body: Body) -> Result<Received<'_>, RequestFault> {
        let max = self.body_bytes_max;
        // What the client announces is refused before it is sent.
        if body.size_hint().lower() > max as u64 {
            return Err(FaultKind::BodyTooLong { max }.into());
        }
        let after = self.timeout;
        match tokio::time::timeout(after, self.collect(body)).await {
            Ok(received) => received,
            Err(_) => Err(FaultKind::BodyTooSlow { after }.into()),
        }
    }

    async fn collect(&self, mut body: Body) -> Result<Received<'_>, RequestFault> {
        let mut share = Share {
            reader: self,
            bytes: 0,
        };
        // Nearly every message is one frame, and is not copied.
        let bytes = next(&mut body).await?.unwrap_or_default();
        share.cover(bytes.len())?;
        let Some(second) = next(&mut body).await? else {
            return Ok(Received {
                bytes,
                _share: share,
            });
        };
        let mut whole = BytesMut::from(bytes);
        let mut frame = Some(second);
        while let Some(part) = frame {
            share.cover(whole.len() + part.len())?;
            whole.extend_from_slice(&part);
            frame = next(&mut body).await?;
        }
        Ok(Received {
            bytes: whole.freeze(),
            _share: share,
        })
    }
}

async fn next(body: &mut Body) -> Result<Option<Bytes>, RequestFault> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| FaultKind::BodyBroken)?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// This body's part of what all bodies may take together.
struct Share<'a> {
    reader: &'a BodyReader,
    bytes: usize,
}

impl Share<'_> {
    /// Grows to what the body has come to.
    fn cover(&mut self, bytes: usize) -> Result<(), RequestFault> {
        let max = self.reader.body_bytes_max;
        if bytes > max {
            return Err(FaultKind::BodyTooLong { max }.into());
        }
        if bytes <= SHORT_BYTES_MAX {
            return Ok(());
        }
        let more = bytes - self.bytes;
        let before = self.reader.held_bytes.fetch_add(more, Ordering::Relaxed);
        self.bytes = bytes;
        if before + more > self.reader.all_bytes_max {
            return Err(FaultKind::BodiesBusy.into());
        }
        Ok(())
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.reader
                .held_bytes
                .fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}
