//! Where the programs are that the scenarios use: ours, beside this one, and others', in `tests/.env`. What is missing ends the
//! test with what to run.

use std::path::{Path, PathBuf};

use crate::Server;

/// The folder of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap().to_owned()
}

/// The folder of `tests`.
#[must_use]
pub fn tests() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn there(path: PathBuf, remedy: &str) -> PathBuf {
    assert!(
        path.exists(),
        "{} is missing: run `{remedy}`",
        path.display()
    );
    path
}

/// The folder of our own programs: the test's own is in `deps` beneath it.
#[must_use]
pub fn programs() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().unwrap();
    if folder.ends_with("deps") {
        folder.parent().unwrap().to_owned()
    } else {
        folder.to_owned()
    }
}

/// One of our own programs.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    there(programs().join(name), "cargo build --workspace --bins")
}

/// A plugin that comes with the router.
#[must_use]
pub fn bundled_plugin(file: &str) -> PathBuf {
    there(repository().join("plugins/dist").join(file), "make plugins")
}

/// The bundled policy.
#[must_use]
pub fn bundled_policy() -> PathBuf {
    bundled_plugin("default-health.wasm")
}

/// The bundled breaker policy.
#[must_use]
pub fn bundled_breaker_policy() -> PathBuf {
    bundled_plugin("default-breaker.wasm")
}

/// The bundled capacity policy.
#[must_use]
pub fn bundled_capacity_policy() -> PathBuf {
    bundled_plugin("default-capacity.wasm")
}

/// A guest that only tests use.
#[must_use]
pub fn guest(name: &str) -> PathBuf {
    there(
        programs().parent().unwrap().join("guests").join(name),
        "make plugins",
    )
}

/// The Python interpreter that knows the pinned packages.
#[must_use]
pub fn python() -> PathBuf {
    python_program("python")
}

fn python_program(name: &str) -> PathBuf {
    there(tests().join(".env/venv/bin").join(name), "make setup")
}

/// Debian's Alertmanager.
#[must_use]
pub fn alertmanager() -> PathBuf {
    let program = tests().join(".env/alertmanager/usr/bin/prometheus-alertmanager");
    there(program, "make setup")
}

/// The Node.js that runs the pinned packages: one of them itself, so that no machine's own matters.
#[must_use]
pub fn node() -> PathBuf {
    python_program("node")
}

/// The folder that holds `node_modules`.
#[must_use]
pub fn node_folder() -> PathBuf {
    there(tests().join(".env/node/node_modules"), "make setup");
    tests().join(".env/node")
}

fn node_server(id: &str, name: &str, args: &[&str]) -> Server {
    let script = node_folder().join("node_modules/.bin").join(name);
    let script = there(script, "make setup").display().to_string();
    let args = args.iter().map(|&arg| arg.to_owned());
    let node = node().display().to_string();
    Server::new(id, node, std::iter::once(script).chain(args))
}

/// npm `@modelcontextprotocol/server-everything`.
#[must_use]
pub fn everything() -> Server {
    node_server("everything", "mcp-server-everything", &["stdio"])
}

/// npm `godot-mcp-runtime`.
#[must_use]
pub fn godot_runtime() -> Server {
    node_server("godot-runtime", "godot-mcp-runtime", &[])
}

/// PyPI `mcp-server-time`.
#[must_use]
pub fn time() -> Server {
    let program = python_program("mcp-server-time");
    Server::new(
        "time",
        program.display().to_string(),
        ["--local-timezone", "UTC"],
    )
}

/// PyPI `mcp-server-sqlite` of a version that dies at once beside a current `mcp`.
#[must_use]
pub fn sqlite(folder: &Path) -> Server {
    let program = python_program("mcp-server-sqlite");
    let file = folder.join("crashing.db").display().to_string();
    Server::new(
        "sqlite",
        program.display().to_string(),
        ["--db-path".to_owned(), file],
    )
}

/// The bundled instance on a project.
#[must_use]
pub fn bundled(project: &Path) -> Server {
    let program = program("godot-mcp-router").display().to_string();
    let project = project.display().to_string();
    Server::new(
        "bundled",
        program,
        ["instance".to_owned(), "--project".to_owned(), project],
    )
}

/// Our own echo: as fast as a server on pipes can be.
#[must_use]
pub fn echo() -> Server {
    Server::new(
        "echo",
        program("echo-server").display().to_string(),
        [""; 0],
    )
}

/// Our own server that misbehaves on demand.
#[must_use]
pub fn scripted(args: &[&str]) -> Server {
    Server::new(
        "scripted",
        program("scripted-server").display().to_string(),
        args.iter().copied(),
    )
}

/// A copy of a fixture project, in a folder that must not exist yet or is replaced.
pub fn copy_project(name: &str, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    copy_folder(&tests().join("fixtures/godot").join(name), to);
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}
