//! A changed tool list is read anew: once at a time, however often the instance says that it changed.

use std::{sync::atomic::Ordering, time::Duration};

use router_core::{Run, SlotKey, event::SlotEvent};
use tokio::time::{Instant, sleep_until};

use super::{live::InternalEvent, state::Driver};
use crate::error_chain::chain;

/// How long the tool list of a ready instance may take to be read anew.
const RELIST: Duration = Duration::from_secs(30);

/// The list is read anew this often at most: some servers say that it changed whenever it is read.
const RELIST_EVERY: Duration = Duration::from_secs(1);

impl Driver {
    pub(super) fn tools_changed(&mut self, key: &SlotKey, run: Run) {
        if let Some(live) = self.current(key, run) {
            // What changes from here on is reported anew.
            live.relist.is_reported.store(false, Ordering::Release);
            live.relist.is_stale = true;
            self.relist(key, run);
        }
    }

    fn relist(&mut self, key: &SlotKey, run: Run) {
        let internal = self.internal.clone();
        let Some(live) = self.current(key, run) else {
            return;
        };
        let Some(upstream) = live.upstream.clone() else {
            return;
        };
        if live.relist.is_under_way || !std::mem::take(&mut live.relist.is_stale) {
            return;
        }
        let now = Instant::now();
        let begin = live
            .relist
            .began
            .map_or(now, |at| (at + RELIST_EVERY).max(now));
        live.relist.is_under_way = true;
        live.relist.began = Some(begin);
        let key = key.clone();
        self.tasks.spawn(async move {
            sleep_until(begin).await;
            let tools = upstream.tools(RELIST).await;
            let tools = tools.map_err(|error| chain(&error));
            let _ = internal
                .send(InternalEvent::Relisted { key, run, tools })
                .await;
        });
    }

    pub(super) fn relisted(&mut self, key: &SlotKey, run: Run, tools: Result<Vec<String>, String>) {
        let Some(live) = self.current(key, run) else {
            return;
        };
        live.relist.is_under_way = false;
        match tools {
            Ok(tools) => {
                // What the next router takes over is the list as it is now, not as it was at the start.
                live.blob.relisted(&tools);
                let bytes = live.blob.to_bytes();
                self.parts.supervisor.put_blob(key, run, bytes);
                self.step(SlotEvent::ToolsListed { tools }.on(key.clone(), run));
            }
            Err(error) => tracing::warn!(
                instance = %key.instance,
                error,
                "changed tool list not read"
            ),
        }
        self.relist(key, run);
    }
}
