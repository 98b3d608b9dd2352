//! Nothing is lost: routers are killed at every step of a page's way (`Step`), with receivers that fail and a database that is stopped or
//! frozen. Each firing of a P1 or P2 arrives; what comes twice came because somebody was killed, under the same id; nothing is over before
//! it fires; and what fired is over in the end.
//!
//! `make test` runs fifty rounds, half of them on SQLite and half on Postgres; `make chaos` a thousand, or `CHAOS_ROUNDS`. `CHAOS_SEED`
//! makes the same decisions again; when a kill meets its router is up to the machine.

#![allow(
    clippy::print_stdout,
    reason = "who runs a thousand rounds wants to see them go by"
)]

mod dice;
pub(crate) mod fixture;
pub(crate) mod ledger;
pub(crate) mod receivers;
mod series;
pub(crate) mod trigger;

use std::sync::Arc;

use router_test_postgres::Cluster;
use series::{Series, postgres};

/// Rounds between two calms.
const BLOCK: u32 = 25;

fn variable(name: &str, default: u64) -> u64 {
    let given = std::env::var(name);
    given.map_or(default, |text| text.parse().unwrap())
}

/// Rounds in blocks, each with a calm at its end.
async fn run(name: &'static str, cluster: Option<Arc<Cluster>>) {
    let rounds = variable("CHAOS_ROUNDS", 50) as u32 / 2;
    let seed = variable("CHAOS_SEED", u64::from(std::process::id()));
    println!("chaos {name}: {rounds} rounds, CHAOS_SEED={seed}");
    let mut series = Series::start(name, seed, cluster).await;
    for round in 1..=rounds {
        series.round().await;
        if round % BLOCK == 0 || round == rounds {
            series.calm().await;
        }
    }
    series.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_step_no_page_is_lost() {
    run("on SQLite", None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_step_no_page_is_lost_while_postgres_comes_and_goes() {
    run("on Postgres", Some(postgres().await)).await;
}
