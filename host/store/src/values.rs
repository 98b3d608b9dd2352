//! The key-value store of plugins: small values that survive reloads and restarts, bounded per plugin.

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 256;
/// Longest value, in bytes: a policy keeps counters and small tables here, not files.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Keys that one plugin may have.
pub const KEYS_PER_PLUGIN_MAX: u32 = 1_000;
/// Bytes of values that one plugin may have in all.
pub const PLUGIN_BYTES_MAX: u64 = 4 * 1024 * 1024;
