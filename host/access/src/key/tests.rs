//! The key's file: made once, whole, for us only.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    thread,
};

use router_values::SessionKey;

use super::{KEY_FILE, KeyError, load_or_create_key};

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn a_missing_key_is_made_once_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = load_or_create_key(dir.path()).unwrap();
    let second = load_or_create_key(dir.path()).unwrap();
    assert!(first.is_new && !second.is_new);
    assert_eq!(first.key, second.key);
    assert_eq!(mode(&dir.path().join(KEY_FILE)), 0o600);
    let names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, [KEY_FILE], "no draft is left");
    let text = fs::read_to_string(dir.path().join(KEY_FILE)).unwrap();
    assert_eq!(SessionKey::parse(&text).unwrap(), first.key);
}

#[test]
fn routers_that_race_agree_on_one_key() {
    let dir = tempfile::tempdir().unwrap();
    let keys: Vec<_> = thread::scope(|scope| {
        let load = || load_or_create_key(dir.path()).unwrap();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(keys.iter().all(|key| key.key == keys[0].key));
    assert_eq!(keys.iter().filter(|key| key.is_new).count(), 1);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_damaged_or_exposed_key_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(KEY_FILE);
    let good = "0123456789abcdef0123456789abcdef";
    let zeros = "0".repeat(64);
    let long = "ab".repeat(3_000);
    for damaged in [
        "",
        "short",
        zeros.as_str(),
        "two words and some more of them here",
        long.as_str(),
        "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    ] {
        fs::write(&path, damaged).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = load_or_create_key(dir.path()).unwrap_err();
        assert!(
            matches!(&error, KeyError::Unusable { path, .. } if path.ends_with(KEY_FILE)),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
    }
    fs::write(&path, good).unwrap();
    for (bits, served) in [
        (0o600, true),
        (0o400, true),
        (0o660, true),
        (0o604, false),
        (0o666, false),
        (0o777, false),
    ] {
        fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
        let result = load_or_create_key(dir.path());
        assert_eq!(result.is_ok(), served, "{bits:o}: {result:?}");
        if let Err(error) = result {
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = load_or_create_key(&dir.path().join("missing")).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot write") && error.to_string().contains("missing"),
        "{error}"
    );
}
