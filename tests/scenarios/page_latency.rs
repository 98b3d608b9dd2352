//! A P1 is at its sink soon: what `make bench` measures with many samples and a target of 100 ms, here with some and five times as long.

use router_tests::pages::{Paging, percentile};

const PAGES: usize = 24;
const SOON_MS: u64 = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_at_its_sink_within_five_times_what_it_is_to_take() {
    let mut paging = Paging::start(None).await;
    let took = paging.milliseconds(PAGES).await;
    assert!(percentile(&took, 99) <= SOON_MS, "{took:?}");
    paging.end().await;
}
