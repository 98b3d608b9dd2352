//! This test binary, started again by a test: as another router, or as an instance that listens by itself.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use router_core::Run;
use router_supervisor::{LaunchSpec, SupervisorEvent};

use super::harness::{Router, config_in, key, ponger};

const ROLE: &str = "SUPERVISION_TEST_ROLE";
const YARD: &str = "SUPERVISION_TEST_YARD";

/// Another router process, which holds one instance until it is killed.
pub(crate) struct OtherRouter {
    pub(crate) process: Child,
    pub(crate) child_pid: u32,
    _stdout: BufReader<ChildStdout>,
}

impl OtherRouter {
    /// Starts it under a name and waits until its instance `id` runs.
    pub(crate) fn start(yard: &Path, router_id: &str, id: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "supervision::second_process::plays_its_role",
                "--nocapture",
            ])
            .env(ROLE, format!("router {router_id} {id}"))
            .env(YARD, yard)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let child_pid = loop {
            let mut line = String::new();
            assert!(
                stdout.read_line(&mut line).unwrap() > 0,
                "the other router ended"
            );
            if let Some((_, pid)) = line.split_once("instance runs as ") {
                break pid.trim().parse().unwrap();
            }
        };
        Self {
            process,
            child_pid,
            _stdout: stdout,
        }
    }

    /// `kill -9`, without reaping: a zombie holds nothing either.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
    }
}

impl Drop for OtherRouter {
    fn drop(&mut self) {
        let _dead_already = self.process.kill();
        let _reaped_already = self.process.wait();
    }
}

/// An instance that binds `SOCKET_PATH` itself and answers `pong` to every line.
pub(crate) fn listener() -> LaunchSpec {
    let program = std::env::current_exe()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    let arguments = [
        "--exact",
        "supervision::second_process::plays_its_role",
        "--nocapture",
    ];
    LaunchSpec {
        transport: router_supervisor::Transport::Socket,
        env: vec![(ROLE.to_owned(), "listener".to_owned())],
        ..LaunchSpec::stdio(program, arguments)
    }
}

/// The entry of the second process. In the first one there is no role to play.
#[test]
fn plays_its_role() {
    let role = std::env::var(ROLE).unwrap_or_default();
    let role: Vec<&str> = role.split(' ').collect();
    match role.as_slice() {
        ["router", router_id, id] => be_a_router(router_id, id),
        ["listener"] => listen_on_socket_path(),
        _ => {}
    }
}

fn be_a_router(router_id: &str, id: &str) {
    let yard = PathBuf::from(std::env::var_os(YARD).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut router = Router::new(config_in(&yard, router_id));
        let _nothing_to_adopt = router.adopt().await;
        router.supervisor.launch(
            key(id),
            Run(41),
            LaunchSpec {
                spec_digest: "d41".into(),
                ..ponger()
            },
        );
        let SupervisorEvent::Started {
            pid,
            io: _kept_open,
            ..
        } = router.next().await
        else {
            panic!("not started")
        };
        router
            .supervisor
            .put_blob(&key(id), Run(41), b"left by the other router".to_vec());
        println!("instance runs as {pid}");
        std::io::stdout().flush().unwrap();
        std::future::pending::<()>().await;
    });
}

fn listen_on_socket_path() {
    let listener = UnixListener::bind(std::env::var_os("SOCKET_PATH").unwrap()).unwrap();
    println!("listening");
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        for _line in lines.map_while(Result::ok) {
            stream.write_all(b"pong\n").unwrap();
        }
    }
}
