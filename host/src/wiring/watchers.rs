//! The tasks that watch rooms while the router runs: owned here, ended together.

use std::{future::Future, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Watchers hold nothing that takes long to drop.
const END_WITHIN: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Default)]
pub(crate) struct Watchers {
    tasks: TaskTracker,
    ends: CancellationToken,
}

impl Watchers {
    /// Runs a task until it returns or [`Watchers::end`] is called.
    pub(crate) fn spawn(&self, watcher: impl Future<Output = ()> + Send + 'static) {
        let ends = self.ends.clone();
        self.tasks.spawn(async move {
            ends.run_until_cancelled(watcher).await;
        });
    }

    /// Ends every task.
    pub(crate) async fn end(&self) {
        self.ends.cancel();
        self.tasks.close();
        if tokio::time::timeout(END_WITHIN, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(tasks = self.tasks.len(), "watchers did not end in time");
        }
    }
}
