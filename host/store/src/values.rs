//! The key-value store of plugins: small values that survive reloads and restarts, bounded per plugin.

use crate::{
    StoreError,
    database::Database,
    facts::RowOrigin,
    sql::{Call, args, now_ms},
    statements::{VALUE_DELETE, VALUE_GET, VALUE_KEYS, VALUE_PUT},
};

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 256;
/// Longest value, in bytes: a policy keeps counters and small tables here, not files.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Keys that one plugin may have.
pub const KEYS_PER_PLUGIN_MAX: u32 = 1_000;
/// Bytes of values that one plugin may have in all.
pub const PLUGIN_BYTES_MAX: u64 = 4 * 1024 * 1024;

pub(crate) async fn get(
    database: &Database,
    plugin: &str,
    key: &str,
) -> Result<Option<Vec<u8>>, StoreError> {
    check_key(key)?;
    let rows: Vec<(Vec<u8>,)> = database
        .rows(Call::new(VALUE_GET, args![plugin, key]))
        .await?;
    Ok(rows.into_iter().next().map(|(value,)| value))
}

pub(crate) async fn put(
    database: &Database,
    origin: &RowOrigin,
    (plugin, key): (&str, &str),
    value: &[u8],
) -> Result<(), StoreError> {
    check_key(key)?;
    if value.len() > VALUE_BYTES_MAX {
        return Err(StoreError::Invalid(format!(
            "a value has {} bytes, at most {VALUE_BYTES_MAX} are kept",
            value.len()
        )));
    }
    let args = args![
        plugin,
        key,
        value.to_vec(),
        now_ms(),
        i64::from(KEYS_PER_PLUGIN_MAX),
        i64::try_from(PLUGIN_BYTES_MAX).unwrap_or(i64::MAX),
        origin.router_id.as_str(),
        origin.epoch
    ];
    if database.change(Call::new(VALUE_PUT, args)).await? == 0 {
        return Err(StoreError::PluginFull {
            plugin: plugin.to_owned(),
            bound: format!("{KEYS_PER_PLUGIN_MAX} keys and {PLUGIN_BYTES_MAX} bytes in all"),
        });
    }
    Ok(())
}

pub(crate) async fn delete(
    database: &Database,
    plugin: &str,
    key: &str,
) -> Result<bool, StoreError> {
    check_key(key)?;
    let call = Call::new(VALUE_DELETE, args![plugin, key]);
    Ok(database.change(call).await? > 0)
}

pub(crate) async fn list(
    database: &Database,
    plugin: &str,
    prefix: &str,
) -> Result<Vec<String>, StoreError> {
    if prefix.contains('\0') {
        return Ok(Vec::new());
    }
    let args = args![plugin, prefix, i64::from(KEYS_PER_PLUGIN_MAX)];
    let rows: Vec<(String,)> = database.rows(Call::new(VALUE_KEYS, args)).await?;
    Ok(rows.into_iter().map(|(key,)| key).collect())
}

fn check_key(key: &str) -> Result<(), StoreError> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX || key.contains('\0') {
        return Err(StoreError::Invalid(format!(
            "a key has 1 to {KEY_BYTES_MAX} bytes and no NUL; this one has {}",
            key.len()
        )));
    }
    Ok(())
}
