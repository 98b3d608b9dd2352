//! The alert journal under a whole router: what waits in it is sent soon after a restart, what is damaged is said and loses nothing that
//! was whole, and a disk that takes nothing keeps nobody from being paged.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{
    chaos::{
        fixture::{Paged, SOON},
        receivers::Mishap,
    },
    database::{self, done},
};
use router_test_postgres::{Cluster, ClusterOptions};
use router_tests::until;

/// A page that was on its way is sent a moment after the start; five times two seconds on a machine that does much else.
const SENT_WITHIN: Duration = Duration::from_secs(10);
const PAGES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Pages that receivers take in and do not answer, when their router is killed.
async fn pending(cluster: Option<&Cluster>) -> Paged {
    let mut paged = Paged::prepare(cluster).await;
    for (target, _) in &paged.targets {
        // More than the pages of both: no fallback answers either.
        (0..20).for_each(|_| target.fails_next(Mishap::Hang));
    }
    paged.holding = PAGES.iter().map(|key| ((*key).to_owned(), true)).collect();
    paged.write_config();
    paged.router.start_again().await;
    until("the pages to be on their way", SOON, async || {
        let deliveries = paged.router.get("/api/deliveries").await;
        let waiting = deliveries["waiting"].as_array().unwrap();
        let attempted = waiting.iter().filter(|one| one["attempts"] == 1).count();
        match attempted >= 2 * 4 {
            true => Ok(()),
            false => Err(format!("{deliveries}\n{}", paged.router.tail())),
        }
    })
    .await;
    paged.kill().await;
    paged
        .targets
        .iter()
        .for_each(|(target, _)| target.is_well());
    paged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_on_their_way_are_sent_soon_after_a_restart() {
    let mut paged = pending(None).await;
    let started = Instant::now();
    paged.router.start_again().await;
    paged.notified(&PAGES, (true, false), SENT_WITHIN).await;
    assert!(
        started.elapsed() < 2 * SENT_WITHIN,
        "{:?}",
        started.elapsed()
    );
    paged.assert_nothing_wrong();
    paged.router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_on_their_way_wait_for_no_database_after_a_restart() {
    let cluster = database::cluster(ClusterOptions::default()).await;
    let mut paged = pending(Some(&cluster)).await;
    done(&cluster, Cluster::freeze).await;
    paged.router.launch();
    paged.notified(&PAGES, (true, false), SENT_WITHIN).await;
    done(&cluster, Cluster::thaw).await;
    paged.router.answers().await;
    paged.assert_nothing_wrong();
    paged.router.end().await;
}

/// The newest log of a journal.
fn log(journal: &Path) -> PathBuf {
    let files = std::fs::read_dir(journal).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let logs = paths.filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("journal-")
    });
    logs.max().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_journal_is_said_and_what_is_whole_in_it_is_known() {
    let mut paged = Paged::prepare(None).await;
    paged.holding = [("old".to_owned(), true), ("older".to_owned(), false)].into();
    paged.write_config();
    paged.router.start_again().await;
    paged.notified(&["old", "older"], (true, false), SOON).await;
    paged.kill().await;

    // Its end is cut in the middle of a record, and another disk's bytes stand behind it.
    let path = log(&paged.router.path("data/alerts"));
    let mut content = std::fs::read(&path).unwrap();
    content.truncate(content.len() - 10);
    content.extend_from_slice(&[0xff, 0, b'{', 0xfe]);
    std::fs::write(&path, &content).unwrap();
    paged.router.start_again().await;
    paged
        .router
        .logged(&["alert journal read", "torn=true"], SOON)
        .await;
    paged.kill().await;

    // A sector in its middle holds nothing any more: the record there is gone, and an alert's row is what the one before said.
    let path = log(&paged.router.path("data/alerts"));
    let mut content = std::fs::read(&path).unwrap();
    let middle = content.len() / 2;
    content[middle..middle + 16].fill(0);
    std::fs::write(&path, &content).unwrap();
    paged.router.start_again().await;
    paged
        .router
        .logged(&["ERROR", "alert journal is damaged"], SOON)
        .await;

    // It goes on all the same: what fires arrives, and what is over.
    paged.holding = [("new".to_owned(), true)].into();
    paged.touch();
    until(
        "the new page, and the end of the old ones",
        SOON,
        async || {
            let new = paged.ledger.heard("pager", &("new".to_owned(), 1));
            let old = ["old", "older"].map(|key| paged.ledger.heard("pager", &(key.to_owned(), 1)));
            if new == (true, false) && old == [(true, true); 2] {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            paged.touch();
            Err(format!("{new:?} {old:?}\n{}", paged.router.tail()))
        },
    )
    .await;
    paged.assert_nothing_wrong();
    paged.router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_nothing_keeps_nobody_from_being_paged() {
    let mut paged = Paged::prepare(None).await;
    // A file stands where the journal's folder was: also for root nothing can be written there.
    let (journal, aside) = (
        paged.router.path("data/alerts"),
        paged.router.path("data/aside"),
    );
    std::fs::rename(&journal, &aside).unwrap();
    std::fs::write(&journal, "").unwrap();
    std::fs::set_permissions(&journal, std::fs::Permissions::from_mode(0o600)).unwrap();
    paged.holding = [("page".to_owned(), true)].into();
    paged.write_config();
    paged.router.start_again().await;
    paged.notified(&["page"], (true, false), SOON).await;
    paged
        .router
        .logged(&["ERROR", "alert journal not writ"], SOON)
        .await;
    until("readiness to say so", SOON, async || {
        let readiness = paged.router.readiness().await;
        let reason = readiness["checks"]["alerts"].to_string();
        match readiness["status"] == "degraded" && reason.contains("journal") {
            true => Ok(()),
            false => Err(readiness.to_string()),
        }
    })
    .await;

    // The disk takes it again: what was held in memory is written, and known after a restart.
    std::fs::remove_file(&journal).unwrap();
    std::fs::rename(&aside, &journal).unwrap();
    paged
        .router
        .logged(&["alert journal written again"], SOON)
        .await;
    until("readiness to be well", SOON, async || {
        let readiness = paged.router.readiness().await;
        match readiness["status"] == "healthy" {
            true => Ok(()),
            false => Err(readiness.to_string()),
        }
    })
    .await;
    paged.kill().await;
    paged.router.start_again().await;
    until("the alert to be known", SOON, async || {
        let alerts = paged.router.get("/api/alerts?state=open").await;
        match alerts["alerts"][0]["firing"] == 1 {
            true => Ok(()),
            false => Err(alerts.to_string()),
        }
    })
    .await;
    paged.assert_nothing_wrong();
    paged.router.end().await;
}
