//! Lists of tools, prompts and resources, served from memory for a while where the operator wants it.

use std::{borrow::Cow, collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::envelope::member;

/// Most lists (pages count one by one) that are kept.
const ENTRIES_MAX: usize = 64;
/// Most bytes that are kept in all.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Cursors longer than this are not worth keeping.
const KEY_BYTES_MAX: usize = 256;

/// A list that an instance may say has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// `tools/list`.
    Tools,
    /// `prompts/list`.
    Prompts,
    /// `resources/list` and `resources/templates/list`.
    Resources,
}

impl ListKind {
    /// The list that a request's method reads.
    pub(crate) fn of_request(method: &str) -> Option<Self> {
        match method {
            "tools/list" => Some(Self::Tools),
            "prompts/list" => Some(Self::Prompts),
            "resources/list" | "resources/templates/list" => Some(Self::Resources),
            _ => None,
        }
    }

    /// The list that a notification says has changed.
    pub(crate) fn of_notification(method: &str) -> Option<Self> {
        match method {
            "notifications/tools/list_changed" => Some(Self::Tools),
            "notifications/prompts/list_changed" => Some(Self::Prompts),
            "notifications/resources/list_changed" => Some(Self::Resources),
            _ => None,
        }
    }
}

/// Which page of which list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PageKey {
    method: Box<str>,
    cursor: Box<str>,
}

impl PageKey {
    /// The page that a request asks for; `None` where it asks for more than a page.
    pub(crate) fn of(method: &str, params: Option<&str>) -> Option<Self> {
        let cursor = match params {
            None => Cow::Borrowed(""),
            Some(params) => page_of(params)?,
        };
        Some(Self {
            method: method.into(),
            cursor: cursor.into(),
        })
    }
}

/// The cursor of list parameters that hold nothing else (`_meta` apart, which does not change the answer).
fn page_of(params: &str) -> Option<Cow<'_, str>> {
    let members: HashMap<Cow<'_, str>, serde::de::IgnoredAny> =
        serde_json::from_str(params).ok()?;
    if members.keys().any(|key| key != "cursor" && key != "_meta") {
        return None;
    }
    let cursor = member(params, "cursor").ok()?.unwrap_or("");
    (cursor.len() <= KEY_BYTES_MAX).then_some(Cow::Borrowed(cursor))
}

struct CachedPage {
    kind: ListKind,
    result: Box<str>,
    until: Instant,
}

/// The pages that are kept.
#[derive(Default)]
pub(crate) struct ListCache {
    pages: HashMap<PageKey, CachedPage>,
    bytes: usize,
    changes: u64,
}

impl ListCache {
    /// How many changes have been announced. A page asked for before a change must not be kept after it.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// The raw result of a page that is still fresh.
    pub(crate) fn get(&self, key: &PageKey, now: Instant) -> Option<&str> {
        let page = self.pages.get(key)?;
        (now < page.until).then_some(&*page.result)
    }

    /// Keeps a page that was asked for when [`ListCache::changes`] was `changes`.
    pub(crate) fn put(
        &mut self,
        key: PageKey,
        result: &str,
        changes: u64,
        ttl: Duration,
        now: Instant,
    ) {
        let Some(kind) = ListKind::of_request(&key.method) else {
            return;
        };
        if changes != self.changes || result.len() > BYTES_MAX / 4 {
            return;
        }
        if self.pages.len() >= ENTRIES_MAX || self.bytes + result.len() > BYTES_MAX {
            self.pages.clear();
            self.bytes = 0;
        }
        self.bytes += result.len();
        let page = CachedPage {
            kind,
            result: result.into(),
            until: now + ttl,
        };
        if let Some(replaced) = self.pages.insert(key, page) {
            self.bytes -= replaced.result.len();
        }
    }

    /// Forgets a list that has changed.
    pub(crate) fn changed(&mut self, kind: ListKind) {
        self.changes += 1;
        self.pages.retain(|_, page| page.kind != kind);
        self.bytes = self.pages.values().map(|page| page.result.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{ListCache, ListKind, PageKey};

    const TTL: Duration = Duration::from_secs(1);

    #[test]
    fn a_page_is_served_until_it_is_stale_or_changed() {
        let (mut cache, now) = (ListCache::default(), Instant::now());
        let key = PageKey::of("tools/list", Some("{}")).unwrap();
        cache.put(key.clone(), "{\"tools\":[]}", cache.changes(), TTL, now);
        assert_eq!(cache.get(&key, now), Some("{\"tools\":[]}"));
        assert_eq!(PageKey::of("tools/list", None), Some(key.clone()));
        assert_eq!(cache.get(&key, now + TTL), None);
        cache.changed(ListKind::Prompts);
        assert!(cache.get(&key, now).is_some());
        cache.changed(ListKind::Tools);
        assert_eq!(cache.get(&key, now), None);
    }

    #[test]
    fn a_page_asked_for_before_a_change_is_not_kept_after_it() {
        let (mut cache, now) = (ListCache::default(), Instant::now());
        let key = PageKey::of("tools/list", None).unwrap();
        let asked = cache.changes();
        cache.changed(ListKind::Tools);
        cache.put(key.clone(), "{}", asked, TTL, now);
        assert_eq!(cache.get(&key, now), None);
    }

    #[test]
    fn pages_differ_by_cursor_and_unknown_parameters_are_not_cached() {
        let first = PageKey::of("tools/list", Some(r#"{"_meta":{"progressToken":1}}"#));
        assert_eq!(first, PageKey::of("tools/list", None));
        assert_ne!(first, PageKey::of("tools/list", Some(r#"{"cursor":"b"}"#)));
        assert_eq!(PageKey::of("tools/list", Some(r#"{"filter":"x"}"#)), None);
        assert_eq!(PageKey::of("tools/list", Some("[1]")), None);
    }

    #[test]
    fn the_cache_is_bounded() {
        let (mut cache, now) = (ListCache::default(), Instant::now());
        for n in 0..1000 {
            let params = format!("{{\"cursor\":\"{n}\"}}");
            let key = PageKey::of("tools/list", Some(&params)).unwrap();
            cache.put(key, &"x".repeat(1 << 20), 0, TTL, now);
            assert!(cache.pages.len() <= super::ENTRIES_MAX && cache.bytes <= super::BYTES_MAX);
        }
    }
}
