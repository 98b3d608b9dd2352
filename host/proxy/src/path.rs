//! The path of a request under `/mcp`. It is parsed once, where the request is accepted; access rules and the proxy read the
//! result.

use percent_encoding::percent_decode_str;
use router_core::InstanceId;

use crate::fault::{FaultKind, RequestFault};

/// The path of a request that belongs to MCP, whose errors are JSON-RPC errors.
#[derive(Debug, Clone)]
pub struct McpPath {
    instance: Result<InstanceId, RequestFault>,
}

impl McpPath {
    /// Parses a path, percent-encoded or not. `None` where it does not belong to MCP; a path that does may still name no
    /// instance.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/mcp")?;
        let name = match rest.strip_prefix('/') {
            Some(name) => name,
            None if rest.is_empty() => "",
            None => return None,
        };
        Some(Self {
            instance: instance_named(name).map_err(RequestFault::from),
        })
    }

    /// The instance that it names.
    #[must_use]
    pub fn instance(&self) -> Option<&InstanceId> {
        self.instance.as_ref().ok()
    }

    /// The instance that it names, or why it names none.
    pub(crate) fn required_instance(&self) -> Result<&InstanceId, RequestFault> {
        self.instance.as_ref().map_err(Clone::clone)
    }
}

fn instance_named(name: &str) -> Result<InstanceId, FaultKind> {
    if name.is_empty() {
        return Err(FaultKind::NoInstance);
    }
    let id = InstanceId::parse(&percent_decode_str(name).decode_utf8_lossy());
    id.map_err(|error| FaultKind::InvalidInstance {
        why: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::McpPath;

    #[test]
    fn paths_name_instances_also_when_encoded() {
        let cases = [
            ("/mcp/demo", Some("demo")),
            ("/mcp/maze%401.0", Some("maze@1.0")),
            ("/mcp/maze@1.0", Some("maze@1.0")),
            ("/mcp", None),
            ("/mcp/", None),
            ("/mcp/a/b", None),
            ("/mcp/a%2Fb", None),
            ("/mcp/%", None),
            ("/mcp/%ff", None),
        ];
        for (path, expected) in cases {
            let parsed = McpPath::parse(path).expect(path);
            let found = parsed.instance().map(|id| id.as_str());
            assert_eq!(found, expected, "{path}");
        }
        for path in ["/", "/mcpx", "/api/mcp", "/mcpx/demo", ""] {
            assert!(McpPath::parse(path).is_none(), "{path}");
        }
    }
}
