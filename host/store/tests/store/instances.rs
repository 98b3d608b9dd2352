//! Registered instances, operators' decisions and crash evidence.

use router_core::InstanceId;
use router_store::{CrashEvidence, Store, StoreError};
use serde_json::json;

use crate::place::{connected, flushed, on_both};

fn id(text: &str) -> InstanceId {
    InstanceId::parse(text).unwrap()
}

on_both!(
    registered_instances_survive_and_are_registered_once,
    |place| {
        let store = place.connected().await;
        let definition = json!({"template": "godot", "vars": {"path": "/x/ä\u{0}"}, "n": 1.5});
        store.register(&id("42"), &definition).await.unwrap();
        store.register(&id("maze@1.0"), &json!({})).await.unwrap();
        let twice = store.register(&id("42"), &json!({})).await.unwrap_err();
        assert!(
            matches!(&twice, StoreError::AlreadyRegistered(known) if *known == id("42")),
            "{twice:?}"
        );
        let huge = json!({"x": "y".repeat(300_000)});
        let refused = store.register(&id("huge"), &huge).await.unwrap_err();
        assert!(matches!(refused, StoreError::Invalid(_)), "{refused:?}");
        store.close().await;

        let store = place.connected().await;
        let kept = store.registered().await.unwrap();
        let ids: Vec<&str> = kept.iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["42", "maze@1.0"]);
        assert_eq!(kept[0].definition, definition);
        assert!(store.unregister(&id("42")).await.unwrap());
        assert!(!store.unregister(&id("42")).await.unwrap());
        assert_eq!(store.registered().await.unwrap().len(), 1);
        store.close().await;
    }
);

on_both!(
    an_operators_decision_survives_a_restart_and_the_last_one_counts,
    |place| {
        let store = place.connected().await;
        for stopped in [true, false, true] {
            store.set_intention(&id("a"), stopped);
            store.set_intention(&id("b"), !stopped);
        }
        store.close().await;

        let store = place.connected().await;
        let kept = store.intentions().await.unwrap();
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert!(kept[0].id == id("a") && kept[0].stopped);
        store.clear_state(&id("a"));
        flushed(&store).await;
        let kept = store.intentions().await.unwrap();
        assert_eq!(kept.len(), 1, "what an operator decided stays: {kept:?}");
        store.close().await;
    }
);

on_both!(crash_evidence_is_bounded_and_forgotten_on_demand, |place| {
    let store = place.connected().await;
    for number in 0..45 {
        let evidence = json!({"exitCode": number, "stderr": ["boom\u{0}", "ä"]});
        store.record_crash(&CrashEvidence {
            id: id("a"),
            evidence,
        });
    }
    store.record_crash(&CrashEvidence {
        id: id("b"),
        evidence: json!({"exitCode": 1}),
    });
    let kept = store.crashes(&id("a"), 100).await.unwrap();
    assert_eq!(kept.len(), 20);
    assert_eq!(kept[0].evidence["exitCode"], 44);
    assert_eq!(kept[19].evidence["exitCode"], 25);
    assert_eq!(kept[0].evidence["stderr"][0], "boom\u{0}");
    assert_eq!(kept[0].router_id, "router-under-test");
    assert_eq!(store.crashes(&id("a"), 2).await.unwrap().len(), 2);
    // Evidence on its way when its deletion is asked for does not come back.
    store.record_crash(&CrashEvidence {
        id: id("a"),
        evidence: json!({}),
    });
    store.clear_state(&id("a"));
    flushed(&store).await;
    assert!(store.crashes(&id("a"), 100).await.unwrap().is_empty());
    // What comes after it stays, however soon.
    store.clear_state(&id("a"));
    store.record_crash(&CrashEvidence {
        id: id("a"),
        evidence: json!({"exitCode": 99}),
    });
    flushed(&store).await;
    let kept = store.crashes(&id("a"), 100).await.unwrap();
    assert_eq!((kept.len(), &kept[0].evidence["exitCode"]), (1, &json!(99)));
    assert_eq!(store.crashes(&id("b"), 100).await.unwrap().len(), 1);
    store.unregister(&id("b")).await.unwrap();
    assert!(store.crashes(&id("b"), 100).await.unwrap().is_empty());
    store.close().await;
});

on_both!(evidence_past_its_size_is_cut_and_kept, |place| {
    let store = place.connected().await;
    let evidence = json!({"stderr": "x".repeat(1_000_000)});
    store.record_crash(&CrashEvidence {
        id: id("a"),
        evidence,
    });
    let kept = store.crashes(&id("a"), 1).await.unwrap();
    assert_eq!(kept[0].evidence["cut"], true);
    assert!(
        kept[0].evidence["beginning"]
            .as_str()
            .unwrap()
            .starts_with("{\"stderr\":\"xxx")
    );
    store.close().await;
});

on_both!(
    evidence_of_a_life_whose_clock_was_ahead_is_forgotten_too,
    |place| {
        let spool = place.dir.path().join("data/spool");
        std::fs::create_dir_all(&spool).unwrap();
        let line = |router: &str, epoch: u32| {
            json!({
                "kind": "crash", "id": format!("{router}{epoch}"), "instance": "a", "at_ms": 9_000_000_000_000_u64,
                "evidence": "{}", "router_id": router, "epoch": epoch
            })
        };
        let lines = format!("{}\n{}\n", line("router-under-test", 6), line("another", 6));
        std::fs::write(spool.join("facts-00000000000000000001.jsonl"), lines).unwrap();
        let mut options = place.options();
        options.audit_retention_days = 0;
        let store = Store::open(options).await.unwrap();
        connected(&store).await;
        store.clear_state(&id("a"));
        flushed(&store).await;
        // Another router's moments are all that is known of it.
        let kept = store.crashes(&id("a"), 20).await.unwrap();
        assert_eq!((kept.len(), kept[0].router_id.as_str()), (1, "another"));
        store.close().await;
    }
);
