//! The audit: what is kept, how it is read, many rows, time's end.

use std::{io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use router_store::Store;
use router_values::{AuditQuery, AuditRow};

use crate::place::{Place, all_rows, connected, flushed, on_both, row};

on_both!(a_row_is_kept_with_everything_it_says, |place| {
    let store = place.connected().await;
    store.audit(row("demo"));
    let page = store.audit_page(AuditQuery::default()).await.unwrap();
    // The newest first; before it on SQLite only the migration that serving does by itself.
    let kept = &page[0];
    assert_eq!(kept.target, "demo");
    assert_eq!(kept.actor, "alice");
    assert_eq!(kept.role, "operator");
    assert_eq!(kept.action, "instance.restart");
    assert_eq!(kept.from_address, "127.0.0.1:4711");
    assert_eq!(
        (kept.result.as_str(), kept.detail.as_str()),
        ("ok", "because")
    );
    assert_eq!(
        (kept.router_id.as_str(), kept.epoch),
        ("router-under-test", 7)
    );
    assert_eq!(kept.id.len(), 32);
    assert_eq!(page[1].action, "database.migrate");
    store.close().await;
});

/// The log of one subscriber.
#[derive(Clone, Default)]
struct CapturedLog(Arc<Mutex<Vec<u8>>>);

impl io::Write for CapturedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line about a row, as somebody hears it who listens to the target `audit` alone.
fn line_about(store: &Store, row: AuditRow) -> String {
    let captured = CapturedLog::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("off,audit=info")
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || store.audit(row));
    let bytes = captured.0.lock().clone();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_has_its_own_target_and_names_the_instance_that_it_is_about() {
    let place = Place::sqlite();
    let store = place.connected().await;
    for (action, target, instance) in [
        ("instance.restart", "demo", true),
        ("instance.clear-state", "maze@1", true),
        ("breaker.reset", "demo", true),
        ("instance.register", "", false),
        ("login", "POST /mcp/demo", false),
        ("config.reload", "router.toml", false),
    ] {
        let mut row = row(target);
        row.action = action.to_owned();
        let line = line_about(&store, row);
        assert!(line.contains("INFO audit: AUDIT "), "{line}");
        assert!(line.contains(&format!("action=\"{action}\"")), "{line}");
        let named = line.contains(&format!(" instance=\"{target}\""));
        assert_eq!(named, instance, "{line}");
    }
    store.close().await;
    let mut options = place.options();
    options.audit_log = false;
    let store = Store::open(options).await.unwrap();
    assert_eq!(line_about(&store, row("demo")), "");
    store.close().await;
}

on_both!(pages_are_filtered_and_follow_each_other, |place| {
    let store = place.connected().await;
    for number in 0..25 {
        let mut row = row(format!("i{}", number % 5));
        row.actor = format!("actor{}", number % 2);
        row.detail = number.to_string();
        store.audit(row);
    }
    let restarts = all_rows(&store, "instance.restart").await;
    let details: Vec<u32> = restarts
        .iter()
        .map(|row| row.detail.parse().unwrap())
        .collect();
    let newest_first: Vec<u32> = (0..25).rev().collect();
    assert_eq!(details, newest_first);
    let of = |query: AuditQuery| store.audit_page(query);
    let by = of(AuditQuery {
        actor: Some("actor1".into()),
        ..Default::default()
    });
    assert_eq!(by.await.unwrap().len(), 12);
    let on = of(AuditQuery {
        target: Some("i3".into()),
        limit: Some(3),
        ..Default::default()
    });
    assert_eq!(on.await.unwrap().len(), 3);
    let since = of(AuditQuery {
        since_ms: Some(restarts[0].at_ms + 60_000),
        ..Default::default()
    });
    assert!(since.await.unwrap().is_empty());
    let both = of(AuditQuery {
        actor: Some("actor0".into()),
        target: Some("i0".into()),
        before: Some(restarts[0].seq),
        ..Default::default()
    });
    assert!(
        both.await
            .unwrap()
            .iter()
            .all(|row| row.actor == "actor0" && row.target == "i0")
    );
    store.close().await;
});

on_both!(hostile_texts_are_kept_or_mended_but_never_lost, |place| {
    let store = place.connected().await;
    let hostile = [
        "nul\0inside",
        "'; DROP TABLE audit; --",
        "\u{202e}right to left",
        "line\nbreak\r\n",
        "\u{1}\u{7f}\\u0000\\",
        "🦀",
        &"x".repeat(100_000),
    ];
    for text in hostile {
        let mut row = row(text);
        row.detail = text.to_owned();
        store.audit(row);
    }
    let kept = all_rows(&store, "instance.restart").await;
    assert_eq!(kept.len(), hostile.len());
    for (kept, sent) in kept.iter().rev().zip(hostile) {
        let expected: String = sent.replace('\0', "\u{fffd}").chars().take(4_096).collect();
        assert_eq!(kept.detail, expected);
    }
    let counted = store.counters();
    assert_eq!((counted.lost, counted.rejected, counted.waiting), (0, 0, 0));
    store.close().await;
});

on_both!(fifty_thousand_rows_arrive_once_and_in_order, |place| {
    let store = place.connected().await;
    for number in 0..50_000_u32 {
        let mut row = row("bulk");
        row.detail = number.to_string();
        store.audit(row);
    }
    flushed(&store).await;
    let kept = all_rows(&store, "instance.restart").await;
    assert_eq!(kept.len(), 50_000);
    for (place, row) in kept.iter().rev().enumerate() {
        assert_eq!(row.detail, place.to_string());
    }
    let counted = store.counters();
    assert_eq!((counted.spooled, counted.drained), (50_000, 50_000));
    assert_eq!((counted.lost, counted.waiting), (0, 0));
    store.close().await;
});

on_both!(rows_given_from_many_threads_all_arrive, |place| {
    let store = place.connected().await;
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let store = store.clone();
            std::thread::spawn(move || {
                for number in 0..500 {
                    store.audit(row(format!("{thread}-{number}")));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    flushed(&store).await;
    let mut targets: Vec<String> = all_rows(&store, "instance.restart")
        .await
        .into_iter()
        .map(|row| row.target)
        .collect();
    targets.sort();
    targets.dedup();
    assert_eq!(targets.len(), 4_000);
    store.close().await;
});

on_both!(what_was_given_before_the_end_is_there_after_it, |place| {
    let store = place.connected().await;
    for number in 0..300 {
        store.audit(row(number.to_string()));
    }
    store.close().await;
    let refused = store.audit_page(AuditQuery::default()).await.unwrap_err();
    assert!(
        matches!(refused, router_store::StoreError::Closed),
        "{refused:?}"
    );
    // A row after the end can only be logged; it must not panic, and it is counted.
    store.audit(row("late"));
    assert_eq!(store.counters().lost, 1);
    let again = place.connected().await;
    assert_eq!(all_rows(&again, "instance.restart").await.len(), 300);
    again.close().await;
});

on_both!(rows_past_their_time_are_deleted_and_others_stay, |place| {
    // Rows of long ago, as an earlier life would have left them in the spool.
    let spool = place.dir.path().join("data/spool");
    std::fs::create_dir_all(&spool).unwrap();
    let mut lines = String::new();
    for number in 0..2_500 {
        let line = serde_json::json!({
            "kind": "audit", "id": format!("old{number}"), "at_ms": 1_000, "actor": "a", "role": "", "action": "old",
            "target": "", "from_address": "", "result": "ok", "detail": "", "router_id": "r", "epoch": 1
        });
        lines.push_str(&format!("{line}\n"));
    }
    std::fs::write(spool.join("facts-00000000000000000001.jsonl"), lines).unwrap();
    let store: Store = place.connected().await;
    store.audit(row("young"));
    flushed(&store).await;
    // The first purge is some seconds after the start.
    crate::place::within("the old rows are gone", async {
        while !all_rows(&store, "old").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    assert_eq!(all_rows(&store, "instance.restart").await.len(), 1);
    connected(&store).await;
    store.close().await;
});
