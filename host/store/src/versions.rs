//! `godot_versions`, the users' table: the heartbeat of instances in those of its columns that exist. No DDL, no DELETE.

/// How one instance is doing, for the row of `godot_versions` whose id it has. Instances whose id is not a whole number
/// have no row and are passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionHeartbeat {
    /// The instance.
    pub id: router_core::InstanceId,
    /// For `instance_status`.
    pub status: String,
    /// For `instance_pid`.
    pub pid: Option<u32>,
    /// For `instance_socket_path`.
    pub socket_path: Option<String>,
    /// For `instance_error_message`.
    pub error_message: Option<String>,
    /// For `instance_last_heartbeat`, in milliseconds since 1970; `None` leaves the column as it is.
    pub heartbeat_ms: Option<i64>,
}
