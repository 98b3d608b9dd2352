//! A Postgres cluster of a scenario's own. What is done to it blocks, and may not block the load.

use std::sync::Arc;

use router_test_postgres::{Cluster, ClusterError, ClusterOptions};

/// Something that is done to a cluster.
pub(crate) type Operation = fn(&Cluster) -> Result<(), ClusterError>;

/// A cluster that runs.
pub(crate) async fn cluster(options: ClusterOptions) -> Arc<Cluster> {
    let start = move || Cluster::with(options);
    let started = tokio::task::spawn_blocking(start).await.unwrap();
    Arc::new(started.unwrap())
}

/// Does something to a cluster, and waits until it is done.
pub(crate) async fn done(cluster: &Arc<Cluster>, operation: Operation) {
    let cluster = Arc::clone(cluster);
    let done = tokio::task::spawn_blocking(move || operation(&cluster)).await;
    done.unwrap().unwrap();
}
