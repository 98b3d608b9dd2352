//! A request of a client on its way to an instance.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use router_upstream::Envelope;

use super::answer_stream::AnswerBatch;
use crate::observe::RequestClass;

/// A request as it arrived.
pub(crate) struct IncomingRequest<'a> {
    /// The whole message.
    pub(crate) source: &'a Bytes,
    pub(crate) envelope: &'a Envelope<'a>,
    /// The client's id, raw JSON.
    pub(crate) id: &'a str,
    pub(crate) class: RequestClass,
    pub(crate) begun: Instant,
    /// The batch that it came in.
    pub(crate) batch: Option<&'a Arc<AnswerBatch>>,
}
