//! Every statement is prepared on both databases, against a migrated schema.

use router_test_postgres::Cluster;
use router_values::DatabaseUrl;
use sqlx::{Executor as _, SqlSafeStr as _};

use super::{ALL, alerts};
use crate::{
    MigrateOptions, migrate,
    target::{Direct, Target},
};

async fn prepare_all(url: String) {
    let url: DatabaseUrl = url.parse().unwrap();
    let options = MigrateOptions {
        url: url.clone(),
        password: None,
        with_godot_versions: true,
        actor: "test".into(),
        timeout: std::time::Duration::from_secs(60),
    };
    migrate(options).await.unwrap();
    let target = Target::new(&url, None).unwrap();
    let mut direct = target.connect().await.unwrap();
    for sql in ALL.iter().chain(alerts::ALL) {
        match &mut direct {
            Direct::Postgres(connection) => {
                let text = sql.postgres.into_sql_str();
                let prepared = connection.prepare(text).await;
                prepared.unwrap_or_else(|error| panic!("{error}: {}", sql.postgres));
            }
            Direct::Sqlite(connection) => {
                let text = sql.sqlite.into_sql_str();
                let prepared = connection.prepare(text).await;
                prepared.unwrap_or_else(|error| panic!("{error}: {}", sql.sqlite));
            }
        }
    }
    direct.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_is_prepared_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    prepare_all(format!("sqlite://{}/router.db", dir.path().display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_is_prepared_on_postgres() {
    let cluster = Cluster::shared().unwrap();
    let database = cluster.fresh_database().unwrap();
    prepare_all(cluster.url(&database)).await;
}
