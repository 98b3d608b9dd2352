//! How soon a P1 is at its sink, and what a delivery costs, on SQLite and on a Postgres of its own: a part of `make bench`.
//!
//! `page-latency [PAGES [DELIVERIES]]`. What is measured, and from when on: `tests/src/pages.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring tool: what it cannot do ends it, and what it found is printed"
)]

use router_test_postgres::Cluster;
use router_tests::pages::{Paging, percentile};

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |otherwise| {
        let given = arguments.next();
        given.map_or(otherwise, |text| text.parse().unwrap())
    };
    let (pages, deliveries): (usize, usize) = (number(200), number(4_000));
    measure("sqlite", None, pages, deliveries).await;
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let cluster = cluster.unwrap();
    let url = cluster.url(&cluster.fresh_database().unwrap());
    measure("postgres", Some(&url), pages, deliveries).await;
    tokio::task::spawn_blocking(move || drop(cluster))
        .await
        .unwrap();
}

async fn measure(database: &str, url: Option<&str>, pages: usize, deliveries: usize) {
    let mut paging = Paging::start(url).await;
    let took = paging.milliseconds(pages).await;
    let [p50, p99, longest] = [50, 99, 100].map(|percent| percentile(&took, percent));
    println!(
        "page {database}: {} pages, p50 {p50} ms, p99 {p99} ms, longest {longest} ms",
        took.len()
    );
    let cost = paging.cost_each(deliveries).await;
    println!(
        "delivery {database}: {} us of processor time each",
        cost.as_micros()
    );
    paging.end().await;
}
