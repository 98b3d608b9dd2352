//! The values of plugins and their bounds.

use router_store::{KEYS_PER_PLUGIN_MAX, PLUGIN_BYTES_MAX, StoreError, VALUE_BYTES_MAX};

use crate::place::on_both;

on_both!(values_are_set_read_listed_and_removed, |place| {
    let store = place.connected().await;
    let bytes: Vec<u8> = (0..=255).collect();
    store.kv_put("p", "a/1", &bytes).await.unwrap();
    store.kv_put("p", "a/2", b"").await.unwrap();
    store.kv_put("p", "a%", b"x").await.unwrap();
    store.kv_put("p", "b", b"x").await.unwrap();
    store.kv_put("other", "a/1", b"other").await.unwrap();
    store.kv_put("p", "b", b"y").await.unwrap();
    assert_eq!(store.kv_get("p", "a/1").await.unwrap().unwrap(), bytes);
    assert_eq!(store.kv_get("p", "a/2").await.unwrap().unwrap(), b"");
    assert_eq!(store.kv_get("p", "b").await.unwrap().unwrap(), b"y");
    assert_eq!(store.kv_get("p", "absent").await.unwrap(), None);
    assert_eq!(store.kv_list("p", "a/").await.unwrap(), ["a/1", "a/2"]);
    assert_eq!(store.kv_list("p", "a%").await.unwrap(), ["a%"]);
    assert_eq!(store.kv_list("p", "").await.unwrap().len(), 4);
    assert!(store.kv_delete("p", "a/1").await.unwrap());
    assert!(!store.kv_delete("p", "a/1").await.unwrap());
    store.close().await;
    let store = place.connected().await;
    assert_eq!(
        store.kv_get("other", "a/1").await.unwrap().unwrap(),
        b"other"
    );
    store.close().await;
});

on_both!(malformed_keys_and_large_values_are_refused, |place| {
    let store = place.connected().await;
    for key in [String::new(), "k".repeat(257), "nul\0".to_owned()] {
        let refused = store.kv_put("p", &key, b"").await.unwrap_err();
        assert!(
            matches!(refused, StoreError::Invalid(_)),
            "{key:?}: {refused:?}"
        );
        assert!(store.kv_get("p", &key).await.is_err());
    }
    let refused = store.kv_put("p", "k", &vec![0; VALUE_BYTES_MAX + 1]).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))));
    store.close().await;
});

on_both!(
    a_plugin_keeps_no_more_than_it_may_and_takes_nothing_from_others,
    |place| {
        let store = place.connected().await;
        let value = vec![0; VALUE_BYTES_MAX];
        let fitting = PLUGIN_BYTES_MAX / VALUE_BYTES_MAX as u64;
        for number in 0..fitting {
            store
                .kv_put("large", &number.to_string(), &value)
                .await
                .unwrap();
        }
        let full = store.kv_put("large", "one more", b"x").await.unwrap_err();
        assert!(matches!(full, StoreError::PluginFull { .. }), "{full:?}");
        // Replacing by something as large fits.
        store.kv_put("large", "0", &value).await.unwrap();
        for number in 0..KEYS_PER_PLUGIN_MAX {
            store
                .kv_put("many", &number.to_string(), b"x")
                .await
                .unwrap();
        }
        let full = store.kv_put("many", "one more", b"x").await.unwrap_err();
        assert!(matches!(full, StoreError::PluginFull { .. }), "{full:?}");
        store.kv_put("many", "0", b"y").await.unwrap();
        assert_eq!(
            store.kv_list("many", "").await.unwrap().len(),
            KEYS_PER_PLUGIN_MAX as usize
        );
        store.kv_put("third", "k", b"x").await.unwrap();
        store.close().await;
    }
);
