//! What is bounded: logs, memory of the shim, and what is measured of the instance.

use std::{fs, time::Duration};

use godot_mcp_shim::protocol::BLOB_BYTES_MAX;
use router_supervisor::{LaunchSpec, SupervisorEvent};

use super::harness::{Yard, ponger, sh};

#[tokio::test]
async fn a_flood_of_stderr_neither_blocks_the_child_nor_fills_the_disk() {
    let yard = Yard::new();
    let mut router = yard.router_with(|config| {
        config.log_bytes_max = 256 * 1024;
        config.log_files_max = 2;
    });
    let script = "head -c 40000000 /dev/zero | tr '\\0' 'x' | fold -w 200 >&2; echo >&2; echo done; read wait; echo last >&2; exit 2";
    let mut running = router.start("demo", 1, sh(script)).await;
    assert_eq!(
        running.line().await,
        "done",
        "the child got through its flood"
    );
    let logs = || -> u64 {
        fs::read_dir(yard.path().join("logs"))
            .unwrap()
            .flatten()
            .map(|one| one.metadata().unwrap().len())
            .sum()
    };
    assert!(logs() <= 3 * 256 * 1024 + 64 * 1024, "{}", logs());
    if let router_supervisor::InstanceIo::Stdio { stdin, .. } = &running.io {
        rustix::io::write(stdin, b"go\n").unwrap();
    }
    let exit = router.exit().await;
    assert_eq!(exit.stderr_tail.last().unwrap(), "last");
    assert!(
        exit.stderr_dropped_bytes > 10_000_000,
        "{}",
        exit.stderr_dropped_bytes
    );
    let tail = router.supervisor.logs_tail(&running.key, 50).await.unwrap();
    assert_eq!(tail.len(), 50);
    assert!(
        tail.iter()
            .any(|line| line.contains("lines of stderr dropped here"))
            || tail[0].contains("xxx")
    );
    yard.assert_clean().await;
}

#[tokio::test]
async fn the_memory_of_the_whole_tree_is_sampled() {
    let yard = Yard::new();
    let mut router = yard.router();
    let small = router.start("small", 1, ponger()).await;
    // A shell that holds 40 MB in a variable, below another one.
    let script =
        "sh -c 'x=$(head -c 40000000 /dev/zero | tr \"\\0\" x); echo up; read wait' ; true";
    let mut large = router.start("large", 2, sh(script)).await;
    assert_eq!(large.line().await, "up");
    let (mut of_small, mut of_large) = (None, None);
    while of_small.is_none() || of_large.is_none() {
        if let SupervisorEvent::Memory {
            key,
            rss_bytes,
            processes,
            ..
        } = router.next_of_any_kind().await
        {
            if key == small.key {
                of_small = Some((rss_bytes, processes));
            } else if rss_bytes > 40_000_000 && processes == 2 {
                of_large = Some((rss_bytes, processes));
            }
        }
    }
    let (rss_bytes, processes) = of_small.unwrap();
    assert!(
        rss_bytes > 100_000 && rss_bytes < 20_000_000 && processes == 1,
        "{rss_bytes} {processes}"
    );
    assert!(of_large.unwrap().0 < 400_000_000);
    router.kill(&small).await;
    assert!(router.kill(&large).await.rss_bytes.unwrap() > 40_000_000);
    yard.assert_clean().await;
}

#[tokio::test]
async fn a_shim_stays_within_two_megabytes_of_its_own_memory() {
    let yard = Yard::new();
    let mut router = yard.router();
    // All that makes a shim grow: a large environment, a large blob, a full tail, a flood.
    let spec = LaunchSpec {
        env: (0..100)
            .map(|at| (format!("FILLER_{at}"), "f".repeat(1000)))
            .collect(),
        ..sh("head -c 3000000 /dev/zero | tr '\\0' 'x' | fold -w 2000 >&2; echo up; read wait")
    };
    let mut running = router.start("demo", 1, spec).await;
    assert_eq!(running.line().await, "up");
    let blob = vec![7; usize::try_from(BLOB_BYTES_MAX).unwrap()];
    router.supervisor.put_blob(&running.key, running.run, blob);
    let shim = yard.record("demo").shim.pid;
    yard.until_blob_kept("demo").await;
    let rollup = fs::read_to_string(format!("/proc/{shim}/smaps_rollup")).unwrap();
    let kilobytes = |name: &str| -> u64 {
        let line = rollup.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_ascii_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap()
    };
    let private = kilobytes("Private_Clean:") + kilobytes("Private_Dirty:");
    println!("private memory of the shim: {private} kB");
    assert!(private <= 2048, "{private} kB\n{rollup}");
    router.kill(&running).await;
    yard.assert_clean().await;
}

#[tokio::test]
async fn a_blob_past_the_bound_is_refused_and_the_former_one_kept() {
    let yard = Yard::new();
    let mut first = yard.router();
    let running = first.start("demo", 1, ponger()).await;
    first
        .supervisor
        .put_blob(&running.key, running.run, b"good".to_vec());
    first.supervisor.release_all().await;
    drop((first, running));
    let mut second = yard.router();
    let (running, blob, _) = second.adopt_one().await;
    assert_eq!(blob.as_deref(), Some(&b"good"[..]));
    second.supervisor.put_blob(
        &running.key,
        running.run,
        vec![0; usize::try_from(BLOB_BYTES_MAX).unwrap() + 1],
    );
    second.supervisor.release_all().await;
    drop((second, running));
    let mut third = yard.router();
    let (running, blob, _) = third.adopt_one().await;
    assert_eq!(blob.as_deref(), Some(&b"good"[..]));
    third
        .supervisor
        .stop(&running.key, running.run, Duration::from_secs(20));
    third.exit().await;
    yard.assert_clean().await;
}
