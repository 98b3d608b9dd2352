//! The instance that a request is for, looked up in the routing table once.

use std::sync::Arc;

use crate::{
    fault::{FaultKind, RequestFault},
    path::McpPath,
    table::{RoutingEntry, RoutingTable},
};

/// See the module.
pub(crate) struct RequestTarget(Result<Arc<RoutingEntry>, RequestFault>);

impl RequestTarget {
    pub(crate) fn find(table: &RoutingTable, path: &McpPath) -> Self {
        Self(path.required_instance().and_then(|instance| {
            let entry = table.get(instance.as_str());
            entry.ok_or_else(|| FaultKind::UnknownInstance.on(instance))
        }))
    }

    /// The entry of the instance, or why there is none.
    pub(crate) fn entry(&self) -> Result<&Arc<RoutingEntry>, RequestFault> {
        self.0.as_ref().map_err(Clone::clone)
    }

    /// Names the instance, where there is one, in a fault that was found before it was needed.
    pub(crate) fn name_in(&self, fault: RequestFault) -> RequestFault {
        match &self.0 {
            Ok(entry) => fault.on(&entry.key.instance),
            Err(_) => fault,
        }
    }
}
