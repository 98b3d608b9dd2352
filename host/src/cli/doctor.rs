//! `doctor`: what this machine lets the router do, and what is in its way. It starts nothing and changes nothing, but makes the
//! directories that the router would make.

use std::{path::Path, process::ExitCode, time::Duration};

use router_config::Config;
use router_store::Schema;
use router_supervisor::{Supervisor, SupervisorConfig};
use tokio::sync::mpsc;

use super::instance;
use crate::{
    error_chain::chain,
    terminal::{print, refuse},
    wiring::{config, disks, plugin_check},
};

/// How long the database may take to answer.
const DATABASE_WITHIN: Duration = Duration::from_secs(5);

/// Descriptors below which some hundred clients and instances run out.
const OPEN_FILES_FEW: u64 = 4096;

/// What was found on one subject.
enum Finding {
    Good(String),
    /// It works, with a limitation.
    Note(String),
    /// The router would not start, or not do what it is for.
    Bad(String),
}

pub(crate) fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let config = match config::read(path)? {
        Ok(config) => config,
        Err(faults) => return Ok(refuse(&faults)),
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
    findings.extend(runtime.block_on(plugins(&config)));
    findings.extend(runtime.block_on(database(&config)));
    findings.push(("open files", open_files()));
    findings.extend(disks_in_use(&config));
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
        Err(error) => return vec![("shim", Finding::Bad(chain(&error)))],
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
            "memory by polling every {} s: no memory controller is delegated",
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

/// The built-in rule judges in the place of a policy that does not; nothing takes the place of a sink.
async fn plugins(config: &Config) -> Vec<(&'static str, Finding)> {
    let found = plugin_check::examine(config).await;
    let sinks = found.sinks.into_iter().map(Finding::Bad);
    let mut findings: Vec<Finding> = sinks
        .chain(found.others.into_iter().map(Finding::Note))
        .collect();
    if findings.is_empty() {
        let text = "every plugin that is named does what it is named for".to_owned();
        findings.push(Finding::Good(text));
    }
    findings
        .into_iter()
        .map(|finding| ("plugins", finding))
        .collect()
}

async fn database(config: &Config) -> Vec<(&'static str, Finding)> {
    let storage = &config.storage;
    let table = storage.versions_table.to_string();
    let (url, password) = (&storage.url, storage.password.as_ref());
    let answer = router_store::inspect(url, password, Some(&table), DATABASE_WITHIN).await;
    let database = match answer {
        Ok(database) => database,
        Err(error) => {
            let reason = chain(&error);
            let text = format!("{reason} (the router would serve, degraded)");
            return vec![("database", Finding::Note(text))];
        }
    };
    let name = database.database;
    let schema = match database.schema {
        Schema::Usable { version } => {
            Finding::Good(format!("{name} answers, its tables have version {version}"))
        }
        Schema::WillBeMade => Finding::Good(format!("{name} will be made")),
        Schema::WillBeMigrated { version } => Finding::Note(format!(
            "{name} has tables of version {version}, which the router will bring up to date"
        )),
        Schema::Unusable(error) => Finding::Bad(chain(&error)),
    };
    let versions = database.versions.map(|table| {
        let text = format!("{table} will get the state of its instances");
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

fn disks_in_use(config: &Config) -> Vec<(&'static str, Finding)> {
    let findings = disks::paths(config).into_iter().filter_map(|path| {
        let share = disks::share_in_use(&path)?;
        let text = format!("{} is {:.0} % full", path.display(), share * 100.0);
        let finding = if share > config.health.disk_share {
            Finding::Note(text)
        } else {
            Finding::Good(text)
        };
        Some(("disk", finding))
    });
    findings.collect()
}
