//! What a caller that is limited to some instances may hear of others: nothing, their names included.

use std::{collections::HashSet, sync::Arc};

use router_core::InstanceId;

/// The only instances that the caller of a request is a client of. What authorizes callers puts it among the extensions of the
/// request; where it is missing, the caller is a client of all.
#[derive(Debug, Clone)]
pub struct ClientOf(pub Arc<HashSet<InstanceId>>);
