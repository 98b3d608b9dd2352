//! Resident memory and process count of every tree, by one reading of `/proc` per interval for all slots together.

use std::sync::Arc;

use godot_mcp_shim::tree::{Identity, ProcessTable};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::{
    SupervisorEvent,
    cells::{RunningTree, SlotCell, SlotCells},
    context::{Context, blocking},
};

/// Samples until `ended`.
pub(crate) async fn sample(context: Arc<Context>, cells: Arc<SlotCells>, ended: CancellationToken) {
    let mut interval = tokio::time::interval(context.config.memory_interval);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = ended.cancelled() => return,
        }
        let trees = cells.with_trees();
        if trees.is_empty() {
            continue;
        }
        // Thousands of small files on a busy machine: not on a thread that serves requests.
        let Some(samples) = blocking(move || measure(trees)).await else {
            return;
        };
        for (cell, sample) in samples {
            record(&context, &cell, sample);
        }
    }
}

#[derive(Debug)]
struct TreeSample {
    tree: RunningTree,
    members: Vec<Identity>,
    rss_bytes: u64,
}

fn measure(trees: Vec<(Arc<SlotCell>, RunningTree)>) -> Vec<(Arc<SlotCell>, TreeSample)> {
    let page_bytes = rustix::param::page_size() as u64;
    let table = ProcessTable::read();
    // A shim that has just died may have left its number to a stranger, whose children are none of ours.
    let trees = trees.into_iter().filter(|(_, tree)| tree.shim.alive());
    let measured = trees.map(|(cell, tree)| {
        let processes = table.descendants(tree.shim.pid);
        let pages: u64 = processes.iter().map(|stat| stat.resident_pages).sum();
        let members = processes.iter().map(|stat| stat.identity).collect();
        let rss_bytes = pages * page_bytes;
        let sample = TreeSample {
            tree,
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

fn record(context: &Context, cell: &SlotCell, sample: TreeSample) {
    let processes = u32::try_from(sample.members.len()).unwrap_or(u32::MAX);
    {
        let mut tree = cell.tree.lock();
        let Some(tree) = tree
            .as_mut()
            .filter(|tree| tree.run == sample.tree.run && !tree.dying)
        else {
            return;
        };
        tree.sampled = sample.members;
        tree.rss_bytes = Some(sample.rss_bytes);
    }
    // A late sample is of less use than the next one.
    let _behind = context.events.try_send(SupervisorEvent::Memory {
        key: cell.key.clone(),
        run: sample.tree.run,
        rss_bytes: sample.rss_bytes,
        processes,
    });
}
