//! Brings rows of alerts and deliveries into the database, one batch after the other, however long the database takes. Nothing waits for
//! it: what is not brought stays in the alert journal.

use router_store::Store;
use tokio::sync::mpsc;

use super::outbox::RowBatch;

/// See the module.
pub(crate) struct DatabaseWriter {
    pub(crate) store: Store,
    pub(crate) batches: mpsc::Receiver<RowBatch>,
    /// One message for each batch that is in the database.
    pub(crate) brought: mpsc::Sender<()>,
}

impl DatabaseWriter {
    /// Runs until the alerts' loop has ended.
    pub(crate) async fn run(mut self) {
        while let Some(batch) = self.batches.recv().await {
            self.store
                .put_alerts(&batch.alerts, &batch.deliveries)
                .await;
            if self.brought.send(()).await.is_err() {
                return;
            }
        }
    }
}
