//! Where the router listens: in a few lines on the terminal, and in a file for programs that chose no port.

use std::{net::SocketAddr, path::Path};

use anyhow::Context as _;
use router_config::Config;
use router_values::durable;

use crate::terminal::print;

/// Instances that are named before the rest is only counted.
const NAMED_MAX: usize = 5;

/// Writes `{data_dir}/listen`: one line, the address. Whole or not at all.
pub(super) fn write_listen_file(data_dir: &Path, address: SocketAddr) -> anyhow::Result<()> {
    let path = data_dir.join("listen");
    let line = format!("{address}\n");
    durable::replace(&path, durable::READABLE, line.as_bytes())
        .with_context(|| format!("{} cannot be written", path.display()))
}

/// Says where the router listens, what it runs, and what to try.
pub(super) fn show(config: &Config, address: SocketAddr) {
    let url = format!("http://{address}");
    let ids: Vec<&str> = config.instance.iter().map(|one| one.id.as_str()).collect();
    let named = ids
        .iter()
        .take(NAMED_MAX)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    let runs = match ids.len() {
        0 => "no instance yet; POST /api/instances adds one".to_owned(),
        count if count > NAMED_MAX => format!("{named} and {} more", count - NAMED_MAX),
        _ => named,
    };
    print(&format!(
        "godot-mcp-router {} listens on {url}",
        env!("CARGO_PKG_VERSION")
    ));
    print(&format!("  instances  {runs}"));
    if let Some(first) = ids.first() {
        print(&format!("  MCP        {url}/mcp/{first}"));
    }
    print(&format!("  database   {}", config.storage.url));
    print(&format!(
        "  log        {}",
        config.logging.dir.join("godot-mcp-router.log").display()
    ));
    print(&format!("  try        curl -s {url}/api/health/readiness"));
}
