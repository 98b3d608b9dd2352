//! Resident memory and process count of every tree, by one reading of `/proc` per interval for all slots together.

use std::sync::Arc;

use godot_mcp_shim::tree::{Identity, ProcessTable};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::{
    SupervisorEvent,
    slots::{Live, SlotCell, Slots},
    supervisor::Surroundings,
};

/// Samples until told to end.
pub(crate) async fn sample(around: Arc<Surroundings>, slots: Arc<Slots>, ended: CancellationToken) {
    let mut interval = tokio::time::interval(around.config.memory_interval);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = ended.cancelled() => return,
        }
        let live = slots.live();
        if live.is_empty() {
            continue;
        }
        // Thousands of small files on a busy machine: not on a thread that serves requests.
        let Ok(samples) = tokio::task::spawn_blocking(move || measure(live)).await else {
            return;
        };
        for (cell, sample) in samples {
            record(&around, &cell, sample);
        }
    }
}

#[derive(Debug)]
struct Sample {
    live: Live,
    members: Vec<Identity>,
    rss_bytes: u64,
}

fn measure(slots: Vec<(Arc<SlotCell>, Live)>) -> Vec<(Arc<SlotCell>, Sample)> {
    let page_bytes = rustix::param::page_size() as u64;
    let table = ProcessTable::read();
    // A shim that has just died may have left its number to a stranger, whose children are none of ours.
    let slots = slots.into_iter().filter(|(_, live)| live.shim.alive());
    let measured = slots.map(|(cell, live)| {
        let tree = table.descendants(live.shim.pid);
        let pages: u64 = tree.iter().map(|stat| stat.resident_pages).sum();
        let members = tree.iter().map(|stat| stat.identity).collect();
        let rss_bytes = pages * page_bytes;
        let sample = Sample {
            live,
            members,
            rss_bytes,
        };
        (cell, sample)
    });
    // A tree that is empty has just ended: its last figures say more than a zero does.
    measured
        .filter(|(_, sample)| !sample.members.is_empty())
        .collect()
}

fn record(around: &Surroundings, cell: &SlotCell, sample: Sample) {
    let processes = u32::try_from(sample.members.len()).unwrap_or(u32::MAX);
    {
        let mut live = cell.live.lock();
        let Some(live) = live
            .as_mut()
            .filter(|live| live.run == sample.live.run && !live.dying)
        else {
            return;
        };
        live.sampled = sample.members;
        live.rss_bytes = Some(sample.rss_bytes);
    }
    // The next sample says more than this one would, late.
    let _behind = around.events.try_send(SupervisorEvent::Memory {
        key: cell.key.clone(),
        run: sample.live.run,
        rss_bytes: sample.rss_bytes,
        processes,
    });
}
