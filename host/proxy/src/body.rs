//! Receiving a request's body: whole, bounded in length, in time, and over all clients together.

use std::sync::{Arc, atomic::Ordering};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use crate::{
    fault::{Fault, Thing},
    proxy::Proxy,
};

impl Proxy {
    /// Reads a body to its end.
    pub(crate) async fn receive(self: &Arc<Self>, body: Body) -> Result<Bytes, Fault> {
        let max = self.parts.limits.body_bytes_max;
        // What the client announces is refused before it is sent.
        if body.size_hint().lower() > max as u64 {
            return Err(Fault::new(Thing::BodyTooLong { max }));
        }
        let after = self.parts.limits.body_timeout;
        match tokio::time::timeout(after, self.collect(body, max)).await {
            Ok(received) => received,
            Err(_) => Err(Fault::new(Thing::BodyTooSlow { after })),
        }
    }

    async fn collect(self: &Arc<Self>, mut body: Body, max: usize) -> Result<Bytes, Fault> {
        let Some(first) = next(&mut body).await? else {
            return Ok(Bytes::new());
        };
        // Nearly every message is one frame, and is not copied.
        let Some(second) = next(&mut body).await? else {
            return check_length(first, max);
        };
        let mut share = Share {
            proxy: self.clone(),
            bytes: 0,
        };
        let mut whole = BytesMut::from(first);
        share.take(whole.len())?;
        let mut frame = Some(second);
        while let Some(part) = frame {
            if whole.len() + part.len() > max {
                return Err(Fault::new(Thing::BodyTooLong { max }));
            }
            share.take(part.len())?;
            whole.extend_from_slice(&part);
            frame = next(&mut body).await?;
        }
        Ok(whole.freeze())
    }
}

async fn next(body: &mut Body) -> Result<Option<Bytes>, Fault> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Fault::new(Thing::BodyBroken))?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn check_length(bytes: Bytes, max: usize) -> Result<Bytes, Fault> {
    if bytes.len() > max {
        return Err(Fault::new(Thing::BodyTooLong { max }));
    }
    Ok(bytes)
}

/// This body's part of what all bodies may take together.
struct Share {
    proxy: Arc<Proxy>,
    bytes: usize,
}

impl Share {
    fn take(&mut self, bytes: usize) -> Result<(), Fault> {
        let before = self.proxy.bodies_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before + bytes > self.proxy.parts.limits.bodies_bytes_max {
            return Err(Fault::new(Thing::BodiesBusy));
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.proxy
            .bodies_bytes
            .fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
