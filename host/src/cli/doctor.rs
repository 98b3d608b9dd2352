//! `doctor`: what this machine lets the router do, and what is in its way. It starts nothing and changes nothing but making
//! the directories that the router would make.

use std::{path::Path, process::ExitCode, time::Duration};

use router_config::Config;
use router_store::Schema;
use router_supervisor::{Supervisor, SupervisorConfig};
use tokio::sync::mpsc;

use super::{instance, print};

/// How long the database may take to answer.
const DATABASE_WITHIN: Duration = Duration::from_secs(5);

/// Descriptors below which some hundred clients and instances run out.
const OPEN_FILES_FEW: u64 = 4096;

/// How one thing is.
enum Finding {
    Good(String),
    /// It works, but somebody should know.
    Note(String),
    /// The router would not start, or not do what it is for.
    Bad(String),
}

pub(crate) fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let config = match crate::apply::read(path)? {
        Ok(config) => config,
        Err(faults) => return Ok(super::refuse(&faults)),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let mut findings = vec![(
        "configuration",
        Finding::Good(format!("{} is fine", path.display())),
    )];
    for notice in &config.notices {
        findings.push((
            "configuration",
            Finding::Note(format!("{}: {}", notice.key, notice.what)),
        ));
    }
    findings.extend(runtime.block_on(processes(&config)));
    findings.push(("bundled server", bundled_server()));
    findings.extend(runtime.block_on(database(&config)));
    findings.push(("open files", open_files()));
    findings.extend(disks(&config));
    runtime.shutdown_timeout(Duration::from_secs(1));
    let is_bad = findings
        .iter()
        .any(|(_, finding)| matches!(finding, Finding::Bad(_)));
    for (subject, finding) in &findings {
        let (mark, text) = match finding {
            Finding::Good(text) => ("ok  ", text),
            Finding::Note(text) => ("note", text),
            Finding::Bad(text) => ("BAD ", text),
        };
        print(&format!("{mark}  {subject:14} {text}"));
    }
    Ok(if is_bad {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// How trees are killed and limited, which the supervisor finds out when it is made.
async fn processes(config: &Config) -> Vec<(&'static str, Finding)> {
    let (events, _from) = mpsc::channel(1);
    let options = SupervisorConfig {
        use_cgroup: config.instances.use_cgroup,
        ..SupervisorConfig::new(
            &config.instances.socket_dir,
            config.logging.instances_dir(),
            "doctor",
        )
    };
    let supervisor = match Supervisor::new(options, events) {
        Ok(supervisor) => supervisor,
        Err(error) => return vec![("shim", Finding::Bad(crate::driver::chain(&error)))],
    };
    let capabilities = supervisor.capabilities();
    let kill = match capabilities.kill.as_str() {
        "cgroup" => Finding::Good("through cgroup.kill: nothing escapes".to_owned()),
        _ => Finding::Note(
            "by process group, descendants and marker: a process that clears its environment and leaves its session while \
             its shim is being killed escapes"
                .to_owned(),
        ),
    };
    let limit = match capabilities.limit.as_str() {
        "cgroup" => Finding::Good("memory by the kernel".to_owned()),
        _ => Finding::Note(format!(
            "memory by looking every {} s: no memory controller is delegated",
            config.instances.memory_interval.as_secs()
        )),
    };
    vec![
        (
            "shim",
            Finding::Good("godot-mcp-shim is beside the router".to_owned()),
        ),
        ("killing", kill),
        ("limiting", limit),
    ]
}

/// Only templates that run `godot-mcp-router instance` need it.
fn bundled_server() -> Finding {
    let name = instance::PROGRAM;
    match instance::path() {
        Ok(path) if path.exists() => Finding::Good(format!("{name} is beside the router")),
        Ok(path) => Finding::Note(format!(
            "{} is missing: `godot-mcp-router instance` cannot serve a project",
            path.display()
        )),
        Err(error) => Finding::Note(format!("{name} cannot be sought: {error}")),
    }
}

async fn database(config: &Config) -> Vec<(&'static str, Finding)> {
    let storage = &config.storage;
    let secret = |secret: &router_config::Secret| router_store::Secret::new(secret.expose());
    let table = storage.versions_table.to_string();
    let (url, password) = (
        secret(storage.url.secret()),
        storage.password.as_ref().map(secret),
    );
    let looked = router_store::look(&url, password.as_ref(), Some(&table), DATABASE_WITHIN).await;
    let look = match looked {
        Ok(look) => look,
        Err(error) => {
            let reason = crate::driver::chain(&error);
            let text = format!("{reason} (the router would serve, degraded)");
            return vec![("database", Finding::Note(text))];
        }
    };
    let name = look.database;
    let schema = match look.schema {
        Schema::Usable { version } => {
            Finding::Good(format!("{name} answers, its tables have version {version}"))
        }
        Schema::WillBeMade => Finding::Good(format!("{name} will be made")),
        Schema::WillBeMigrated { version } => Finding::Note(format!(
            "{name} has tables of version {version}, which the router will bring up to date"
        )),
        Schema::Unusable(error) => Finding::Bad(crate::driver::chain(&error)),
    };
    let versions = look.versions.map(|table| {
        let text = format!("{table} will hear how its instances are");
        ("versions", Finding::Good(text))
    });
    std::iter::once(("database", schema))
        .chain(versions)
        .collect()
}

fn open_files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    match limit {
        Some(few) if few < OPEN_FILES_FEW => Finding::Note(format!(
            "at most {few}: raise LimitNOFILE for more than some hundred clients"
        )),
        Some(many) => Finding::Good(format!("up to {many}")),
        None => Finding::Good("unlimited".to_owned()),
    }
}

fn disks(config: &Config) -> Vec<(&'static str, Finding)> {
    let paths = [
        &config.server.data_dir,
        &config.logging.dir,
        &config.instances.socket_dir,
    ];
    let looked = paths.into_iter().filter_map(|path| {
        let stat = rustix::fs::statvfs(path).ok()?;
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        let percent = (used * 100).checked_div(used + stat.f_bavail)?;
        let text = format!("{} is {percent} % full", path.display());
        let is_full = percent as f64 / 100.0 > config.health.disk_share;
        Some((
            "disk",
            if is_full {
                Finding::Note(text)
            } else {
                Finding::Good(text)
            },
        ))
    });
    looked.collect()
}
