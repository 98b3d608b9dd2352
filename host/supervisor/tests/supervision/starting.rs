//! How a run begins: its environment, its descriptors, its limits, and what a failure says.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixListener, net::UnixStream},
    time::Duration,
};

use router_supervisor::{ExitCause, InstanceIo, LaunchSpec, ProcessExit};

use super::{
    harness::{Yard, ponger, sh, shim_program, until},
    second_process,
};

#[tokio::test]
async fn a_child_is_spoken_to_through_its_own_pipes() {
    let yard = Yard::new();
    let mut router = yard.router();
    let mut running = router.start("demo", 1, ponger()).await;
    running.converse("ping", "pong").await;
    assert_eq!(
        yard.record("demo").child.unwrap().pid.unsigned_abs(),
        running.pid
    );
    let socket = fs::metadata(yard.socket("demo")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    for descriptor in 0..2 {
        let target = fs::read_link(format!("/proc/{}/fd/{descriptor}", running.pid)).unwrap();
        assert!(target.to_string_lossy().starts_with("pipe:"), "{target:?}");
    }
    let exit = router.kill(&running).await;
    assert_eq!(
        (exit.exit, exit.cause),
        (Some(ProcessExit::Signal(9)), ExitCause::Killed)
    );
    yard.assert_clean().await;
}

#[tokio::test]
async fn the_child_gets_the_promised_environment_and_no_other() {
    let yard = Yard::new();
    let mut router = yard.router();
    let spec = LaunchSpec {
        env: vec![
            ("OWN".into(), "value with blanks".into()),
            ("HOME".into(), "/template".into()),
            ("VERSION_ID".into(), "forged".into()),
        ],
        pass_env: vec!["CARGO_PKG_NAME".into(), "NOT_SET_ANYWHERE".into()],
        ..LaunchSpec::stdio("env", ["sh", "-c", "env; echo end; read wait"])
    };
    let mut running = router.start("demo@1.0", 1, spec).await;
    let mut seen = BTreeMap::new();
    loop {
        let line = running.line().await;
        let Some((name, value)) = line.split_once('=') else {
            break;
        };
        seen.insert(name.to_owned(), value.to_owned());
    }
    let marker = seen.remove("GODOT_MCP_SHIM").unwrap();
    assert!(
        marker.len() == 32 && marker.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{marker}"
    );
    assert_eq!(marker, yard.record("demo@1.0").marker);
    let of_the_shell = ["PWD", "OLDPWD", "SHLVL", "_"];
    seen.retain(|name, _| !of_the_shell.contains(&name.as_str()));
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    for name in ["PATH", "LANG", "TMPDIR", "CARGO_PKG_NAME"] {
        if let Ok(value) = std::env::var(name) {
            expected.insert(name.into(), value);
        }
    }
    expected.insert("HOME".into(), "/template".into());
    expected.insert("OWN".into(), "value with blanks".into());
    expected.insert("VERSION_ID".into(), "demo@1.0".into());
    expected.insert("MCP_INSTANCE_MODE".into(), "1".into());
    expected.insert(
        "SOCKET_PATH".into(),
        yard.socket("demo@1.0").display().to_string(),
    );
    assert_eq!(seen, expected);
    router.kill(&running).await;
    yard.assert_clean().await;
}

#[tokio::test]
async fn a_descriptor_that_the_router_inherited_reaches_neither_shim_nor_child() {
    let yard = Yard::new();
    let mut router = yard.router();
    // Without CLOEXEC, as a careless parent of the router leaves one.
    let (read, write) = rustix::pipe::pipe().unwrap();
    let mut running = router.start("demo", 1, ponger()).await;
    running.converse("ping", "pong").await;
    let leaked = fs::read_link(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&write)
    ))
    .unwrap();
    let shim = yard.record("demo").shim.pid;
    for pid in [shim, i32::try_from(running.pid).unwrap()] {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let open: Vec<_> = open
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .collect();
        assert!(
            !open.contains(&leaked),
            "{pid} has {leaked:?} among {open:?}"
        );
    }
    let child_open = fs::read_dir(format!("/proc/{}/fd", running.pid))
        .unwrap()
        .count();
    assert_eq!(child_open, 3, "a child has stdin, stdout and stderr");
    drop((read, write));
    router.kill(&running).await;
    yard.assert_clean().await;
}

#[tokio::test]
async fn limits_and_directory_are_arranged_before_the_command() {
    let yard = Yard::new();
    let mut router = yard.router();
    let spec = LaunchSpec {
        max_open_files: Some(123),
        cwd: Some("/usr".into()),
        ..sh("ulimit -n; ulimit -Hn; pwd; read wait")
    };
    let mut running = router.start("demo", 1, spec).await;
    for expected in ["123", "123", "/usr"] {
        assert_eq!(running.line().await, expected);
    }
    router.kill(&running).await;
    yard.assert_clean().await;
}

#[tokio::test]
async fn a_command_that_cannot_be_executed_is_named_with_the_reason() {
    let yard = Yard::new();
    let mut router = yard.router();
    let not_executable = yard.path().join("data.txt");
    fs::write(&not_executable, "no program").unwrap();
    let file = not_executable.display().to_string();
    let cases = [
        (
            LaunchSpec::stdio("no-such-command-7", [""; 0]),
            vec!["no-such-command-7", "No such file"],
        ),
        (
            LaunchSpec::stdio(file.clone(), [""; 0]),
            vec![file.as_str(), "Permission denied"],
        ),
        (
            LaunchSpec {
                cwd: Some("/no/such/directory".into()),
                ..sh("true")
            },
            vec!["working directory", "/no/such/directory", "No such file"],
        ),
    ];
    for (spec, parts) in cases {
        let error = router.spawn_failure("demo", spec).await;
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        yard.assert_clean().await;
    }
    let mut running = router.start("demo", 2, ponger()).await;
    running.converse("ping", "pong").await;
    router.kill(&running).await;
}

#[tokio::test]
async fn a_socket_path_that_is_too_long_is_refused_with_the_remedy() {
    let yard = Yard::new();
    let deep = yard.path().join("d".repeat(90));
    let mut router = yard.router_with(|config| config.socket_dir = deep);
    let error = router.spawn_failure("demo", ponger()).await;
    assert!(
        error.contains("107") && error.contains("shorter socket_dir"),
        "{error}"
    );
    yard.assert_clean().await;
}

#[tokio::test]
async fn an_address_in_use_never_needs_a_human() {
    let yard = Yard::new();
    let mut router = yard.router();
    // What a crashed server leaves, and what a living one of another program that knows no lock has.
    drop(UnixListener::bind(yard.socket("stale")).unwrap());
    let _alive = UnixListener::bind(yard.socket("alive")).unwrap();
    for id in ["stale", "alive"] {
        let mut running = router.start(id, 1, ponger()).await;
        running.converse("ping", "pong").await;
        router.kill(&running).await;
    }
    fs::write(yard.socket("file"), "a user's text").unwrap();
    let error = router.spawn_failure("file", ponger()).await;
    assert!(error.contains("not a socket"), "{error}");
    assert_eq!(
        fs::read_to_string(yard.socket("file")).unwrap(),
        "a user's text"
    );
    fs::remove_file(yard.socket("file")).unwrap();
    yard.assert_clean().await;
}

#[tokio::test]
async fn an_instance_that_listens_by_itself_finds_its_path_free_each_time() {
    let yard = Yard::new();
    let mut router = yard.router();
    for run in 1..=2 {
        let running = router.start("demo", run, second_process::listener()).await;
        let InstanceIo::Socket(path) = &running.io else {
            panic!("not a socket")
        };
        assert_eq!(*path, yard.socket("demo"));
        until("the instance to listen", || {
            UnixStream::connect(path).is_ok()
        })
        .await;
        let mut stream = UnixStream::connect(path).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.write_all(b"ping\n").unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        assert_eq!(answer, "pong\n");
        // Killed, so that it cannot remove its socket itself.
        router.kill(&running).await;
        let log = router
            .supervisor
            .logs_tail(&running.key, 100)
            .await
            .unwrap();
        assert!(
            log.iter().any(|line| line.ends_with(" listening")),
            "stdout goes to the log too: {log:?}"
        );
    }
    yard.assert_clean().await;
}

#[tokio::test]
async fn a_replaced_or_removed_shim_binary_does_not_matter() {
    let yard = Yard::new();
    let copy = yard.path().join("shim");
    fs::copy(shim_program(), &copy).unwrap();
    let mut router = yard.router_with(|config| config.shim_path.clone_from(&copy));
    let mut before = router.start("before", 1, ponger()).await;
    fs::remove_file(&copy).unwrap();
    let mut after = router.start("after", 1, ponger()).await;
    before.converse("ping", "pong").await;
    after.converse("ping", "pong").await;
    router.kill(&before).await;
    router.kill(&after).await;
    yard.assert_clean().await;
}

#[tokio::test]
async fn a_second_run_of_a_slot_is_refused_while_the_first_lives() {
    let yard = Yard::new();
    let mut router = yard.router();
    let mut running = router.start("demo", 1, ponger()).await;
    let error = router.spawn_failure("demo", ponger()).await;
    assert!(error.contains("run 1"), "{error}");
    running.converse("ping", "pong").await;
    router.kill(&running).await;
    yard.assert_clean().await;
}
