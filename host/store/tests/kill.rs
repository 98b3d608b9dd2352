//! The store in a process of its own that is killed with SIGKILL: while it writes the spool, while it drains, again and
//! again. Afterwards every row that was safe is in the database once, in order. Also a process that may not write, or not
//! much: a read-only directory and a full disk.
//!
//! This program runs itself as that process, so it has its own `main`: `GMR_STORE_CHILD` says what the child does.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use router_store::{DatabaseState, MigrateOptions, Store, StoreOptions};
use router_test_postgres::Cluster;
use router_values::{AuditQuery, AuditRow};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const CHILD: &str = "GMR_STORE_CHILD";

fn main() {
    if let Ok(task) = std::env::var(CHILD) {
        return child(&task);
    }
    let (options, wanted): (Vec<String>, Vec<String>) = std::env::args()
        .skip(1)
        .partition(|arg| arg.starts_with('-'));
    let has = |option: &str| options.iter().any(|given| given == option);
    let scenarios: [(&str, fn()); 8] = [
        ("killed_while_writing_the_spool_on_sqlite", || {
            killed_while_writing(false);
        }),
        ("killed_while_writing_the_spool_on_postgres", || {
            killed_while_writing(true);
        }),
        ("killed_while_draining_into_sqlite", || {
            killed_while_draining(false);
        }),
        ("killed_while_draining_into_postgres", || {
            killed_while_draining(true);
        }),
        ("a_full_disk_costs_no_row", a_full_disk),
        (
            "a_disk_without_any_room_collects_no_files",
            a_disk_without_room,
        ),
        (
            "a_killed_test_leaves_no_server",
            a_killed_test_leaves_no_server,
        ),
        (
            "a_read_only_directory_is_no_reason_not_to_serve",
            a_read_only_directory,
        ),
    ];
    for (name, scenario) in scenarios {
        // As a runner asks that gives each test a process of its own.
        if has("--list") {
            if !has("--ignored") {
                println!("{name}: test");
            }
            continue;
        }
        if wanted.is_empty() || wanted.iter().any(|filter| name.contains(filter.as_str())) {
            let started = Instant::now();
            scenario();
            println!(
                "test {name} ... ok ({:.1} s)",
                started.elapsed().as_secs_f64()
            );
        }
    }
}

// What the child does.

fn child(task: &str) {
    if task == "cluster" {
        let cluster = Cluster::start().unwrap();
        assert_eq!(cluster.query("postgres", "SELECT 1").unwrap(), "1");
        println!("{}", cluster.pid().unwrap());
        loop {
            std::thread::park();
        }
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let variable = |name: &str| std::env::var(name).unwrap();
    let options = StoreOptions::new(
        variable("GMR_URL").parse().unwrap(),
        variable("GMR_DATA"),
        "child",
    );
    runtime.block_on(async {
        let store = Store::open(options).await.unwrap();
        match task {
            "write" => write(&store, &variable("GMR_LIFE")).await,
            "drain" => std::future::pending().await,
            "fill" => fill(&store, variable("GMR_ROWS").parse().unwrap()).await,
            "state" => {
                let mut state = store.state();
                let lost = |state: &DatabaseState| !state.is_connected();
                let state = state.wait_for(lost).await.unwrap().clone();
                println!("{state:?}");
                store.audit(row("readonly", 0));
                store.flush(Duration::from_millis(500)).await;
                println!("lost {}", store.counters().lost);
            }
            _ => panic!("no such task: {task}"),
        }
    });
}

fn row(life: &str, number: u64) -> AuditRow {
    AuditRow {
        action: life.to_owned(),
        target: number.to_string(),
        detail: "d".repeat(150),
        ..AuditRow::default()
    }
}

/// Rows without end; says after every few which of them are safe.
async fn write(store: &Store, life: &str) {
    for number in 1_u64.. {
        store.audit(row(life, number));
        if number.is_multiple_of(37) {
            safe(store, number).await;
            println!("safe {number}");
        }
    }
}

/// So many rows in small portions, then an orderly end.
async fn fill(store: &Store, rows: u64) {
    for number in 1..=rows {
        store.audit(row("fill", number));
        if number.is_multiple_of(100) {
            // A disk that refuses is no reason to stop: what it refuses is held.
            let _ = tokio::time::timeout(Duration::from_millis(100), safe(store, number)).await;
        }
    }
    store.close().await;
    let counted = store.counters();
    println!("lost {} waiting {}", counted.lost, counted.waiting);
}

async fn safe(store: &Store, count: u64) {
    while store.counters().spooled < count {
        tokio::task::yield_now().await;
    }
}

// Starting and killing it.

struct Place {
    dir: TempDir,
    cluster: Option<Cluster>,
    url: String,
}

impl Place {
    fn new(postgres: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (cluster, url) = if postgres {
            let cluster = Cluster::start().unwrap();
            cluster.create_database("killed").unwrap();
            let url = cluster.url("killed");
            (Some(cluster), url)
        } else {
            (None, format!("sqlite://{}/router.db", dir.path().display()))
        };
        let options = MigrateOptions {
            url: url.parse().unwrap(),
            password: None,
            with_godot_versions: false,
            actor: "tester".into(),
            timeout: PATIENCE,
        };
        block_on(router_store::migrate(options)).unwrap();
        Self { dir, cluster, url }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn command(&self, task: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .env(CHILD, task)
            .env("GMR_URL", &self.url)
            .env("GMR_DATA", self.data())
            .stdout(Stdio::piped());
        command
    }

    /// The rows of an action in the order in which they were kept, read without the spool of the children.
    fn kept(&self) -> BTreeMap<String, Vec<u64>> {
        let mut lives: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for row in block_on(self.rows()).into_iter().rev() {
            if row.router_id == "child" && row.action != "database.migrate" {
                lives
                    .entry(row.action)
                    .or_default()
                    .push(row.target.parse().unwrap());
            }
        }
        lives
    }

    async fn rows(&self) -> Vec<AuditRow> {
        let store = self.reader("reader").await;
        let mut rows: Vec<AuditRow> = Vec::new();
        loop {
            let query = AuditQuery {
                before: rows.last().map(|row| row.seq),
                limit: Some(1_000),
                ..AuditQuery::default()
            };
            let page = store.audit_page(query).await.unwrap();
            if page.is_empty() {
                store.close().await;
                return rows;
            }
            rows.extend(page);
        }
    }

    /// A connected store of this process.
    async fn reader(&self, data: &str) -> Store {
        let data = self.dir.path().join(data);
        let store = Store::open(StoreOptions::new(
            self.url.parse().unwrap(),
            data,
            data_name(),
        ))
        .await
        .unwrap();
        let mut state = store.state();
        let connected = state.wait_for(DatabaseState::is_connected);
        tokio::time::timeout(PATIENCE, connected)
            .await
            .expect("connected in time")
            .unwrap();
        store
    }

    /// A last life on the children's data directory: brings everything into the database.
    fn drain(&self) {
        block_on(async {
            let store = self.reader("data").await;
            let deadline = Instant::now() + PATIENCE;
            while store.counters().waiting > 0 {
                assert!(
                    Instant::now() < deadline,
                    "the spool was not drained: {:?}",
                    store.counters()
                );
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(store.counters().lost, 0);
            store.close().await;
        });
        assert!(spool_files(&self.data()).is_empty(), "the spool is empty");
    }
}

fn data_name() -> &'static str {
    "parent"
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

fn spool_files(data: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(data.join("spool")) else {
        return Vec::new();
    };
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn lines(child: &mut Child) -> BufReader<ChildStdout> {
    BufReader::new(child.stdout.take().unwrap())
}

/// Rows of one life: from the first, each once, in order, and no fewer than were safe.
fn check_life(life: &str, kept: &[u64], safe: u64) {
    let expected: Vec<u64> = (1..=kept.len() as u64).collect();
    assert_eq!(kept, expected, "{life} has gaps, repeats or disorder");
    assert!(
        kept.len() as u64 >= safe,
        "{life}: {safe} rows were safe, {} are kept",
        kept.len()
    );
}

// The scenarios.

/// Lives that are killed at all kinds of moments while rows go to the spool and from there to the database; every other
/// one with the database away.
fn killed_while_writing(postgres: bool) {
    let place = Place::new(postgres);
    let mut safe = BTreeMap::new();
    for number in 0..12_u64 {
        let life = format!("life{number}");
        if let Some(cluster) = &place.cluster {
            match number % 2 {
                0 => cluster.stop().unwrap(),
                _ => cluster.start_again().unwrap(),
            }
        }
        let mut child = place
            .command("write")
            .env("GMR_LIFE", &life)
            .spawn()
            .unwrap();
        let mut last = 0;
        // Killed after another number of lines each time, in the middle of what follows them.
        for line in lines(&mut child)
            .lines()
            .take(1 + (number as usize * 7) % 30)
        {
            last = line.unwrap().trim_start_matches("safe ").parse().unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(last > 0);
        safe.insert(life, last);
    }
    if let Some(cluster) = &place.cluster {
        cluster.start_again().unwrap();
    }
    // And one whose last line is torn, whatever the kills above did.
    let torn = place.data().join("spool/facts-00000000000000009999.jsonl");
    std::fs::create_dir_all(torn.parent().unwrap()).unwrap();
    std::fs::write(torn, "{\"kind\":\"audit\",\"id\":\"to").unwrap();
    place.drain();
    let kept = place.kept();
    assert_eq!(kept.len(), safe.len());
    for (life, safe) in safe {
        check_life(&life, &kept[&life], safe);
    }
}

/// A full spool is drained by lives that are killed as soon as they have made some progress.
fn killed_while_draining(postgres: bool) {
    const ROWS: u64 = 20_000;
    let place = Place::new(postgres);
    // Filled while there is no database to drain into.
    let nowhere = "sqlite:///proc/nowhere/router.db";
    let mut filler = place.command("fill");
    filler
        .env("GMR_URL", nowhere)
        .env("GMR_ROWS", ROWS.to_string());
    let output = filler.output().unwrap();
    assert!(output.status.success());
    let files = spool_files(&place.data()).len();
    assert!(files > 3, "the spool has several files: {files}");
    let mut kills = 0;
    loop {
        let before = count(&place);
        let left = spool_files(&place.data()).len();
        if before == ROWS || left == 0 {
            break;
        }
        let mut child = place.command("drain").spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        // Some rows more, but as soon as it can be seen: most kills fall between a statement and the removal of its file.
        while count(&place) < (before + 1 + kills * 137).min(ROWS) {
            assert!(Instant::now() < deadline, "nothing is drained");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    place.drain();
    let kept = place.kept();
    check_life("fill", &kept["fill"], ROWS);
    assert_eq!(kept["fill"].len() as u64, ROWS);
    assert!(kills >= 2, "it was killed in the middle {kills} times");
}

fn count(place: &Place) -> u64 {
    const SQL: &str = "SELECT count(*) FROM audit WHERE action = 'fill'";
    match &place.cluster {
        Some(cluster) => {
            let sql = SQL.replace("audit", "godot_mcp_router.audit");
            cluster.query("killed", &sql).unwrap().parse().unwrap()
        }
        None => block_on(async {
            use sqlx::Connection as _;
            let mut direct = sqlx::SqliteConnection::connect(&place.url).await.unwrap();
            let count: (i64,) = sqlx::query_as(SQL).fetch_one(&mut direct).await.unwrap();
            count.0.unsigned_abs()
        }),
    }
}

/// No file may grow past 300 kB, as on a disk that is full: the database fails first. What it cannot take waits, and the
/// next life, with room again, has it all.
fn a_full_disk() {
    const ROWS: u64 = 4_000;
    let place = Place::new(false);
    let printed = fill_limited(&place, 600, ROWS);
    assert!(printed.contains("lost 0 waiting "), "{printed}");
    assert!(
        !printed.contains("waiting 0\n"),
        "the database took everything: the limit did not bite"
    );
    place.drain();
    let kept = place.kept();
    check_life("fill", &kept["fill"], ROWS);
}

/// Not a byte can be written: nothing is kept but in the log, and attempts leave nothing behind.
fn a_disk_without_room() {
    const ROWS: u64 = 1_000;
    let place = Place::new(false);
    let printed = fill_limited(&place, 0, ROWS);
    assert!(printed.contains(&format!("lost {ROWS} ")), "{printed}");
    assert_eq!(spool_files(&place.data()), Vec::<PathBuf>::new());
}

/// A life that fills the spool while no file may grow past so many blocks of 512 bytes. What it said.
fn fill_limited(place: &Place, blocks: u32, rows: u64) -> String {
    let plain = place.command("fill");
    let mut limited = Command::new("sh");
    limited
        .arg("-c")
        .arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\""))
        .arg(plain.get_program())
        .env("GMR_ROWS", rows.to_string())
        .stdout(Stdio::piped());
    for (name, value) in plain.get_envs() {
        limited.env(name, value.unwrap());
    }
    let output = limited.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}");
    printed
}

/// A test that is killed with a server running, as root (then the server is `postgres`'s) and as somebody else.
fn a_killed_test_leaves_no_server() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("child");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let temporary = dir.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    for path in [dir.path(), &temporary] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mut commands = vec![Command::new(&program)];
    if rustix::process::geteuid().is_root() {
        commands.push(as_nobody(&program));
    }
    for mut command in commands {
        command
            .env(CHILD, "cluster")
            .env("TMPDIR", &temporary)
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let first = lines(&mut child)
            .lines()
            .next()
            .expect("the server's pid")
            .unwrap();
        let server = Path::new("/proc").join(first);
        assert!(server.exists());
        child.kill().unwrap();
        child.wait().unwrap();
        let deadline = Instant::now() + PATIENCE;
        // A process that nobody has reaped yet has no command line any more.
        while std::fs::read(server.join("cmdline")).is_ok_and(|line| !line.is_empty()) {
            assert!(Instant::now() < deadline, "a server outlived its test");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(program);
    command
}

/// Somebody without rights: neither the file nor the spool can be written. It says so, and holds what it is given.
fn a_read_only_directory() {
    let place = Place::new(false);
    std::fs::create_dir(place.data()).unwrap();
    let program = place.dir.path().join("child");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for (path, mode) in [("", 0o555), ("data", 0o555), ("router.db", 0o444)] {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(place.dir.path().join(path), permissions).unwrap();
    }
    let plain = place.command("state");
    let mut unprivileged = if rustix::process::geteuid().is_root() {
        as_nobody(&program)
    } else {
        Command::new(&program)
    };
    for (name, value) in plain.get_envs() {
        unprivileged.env(name, value.unwrap());
    }
    let output = unprivileged.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{printed} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(printed.contains("Disconnected"), "{printed}");
    assert!(
        printed.contains("readonly") || printed.contains("unable to open"),
        "{printed}"
    );
    assert!(printed.contains("lost 0"), "{printed}");
    let permissions = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(place.dir.path(), permissions).unwrap();
}
