//! Waiting on a state, with a deadline that fails loudly.

use std::time::{Duration, Instant};

/// Between two checks. Short beside everything that is waited for, long beside one check.
const PAUSE: Duration = Duration::from_millis(20);

/// Checks until the state is there. `Err` says what is there instead.
///
/// # Panics
/// Nothing was seen in time: with what was there last.
pub async fn until<T>(
    what: &str,
    within: Duration,
    mut check: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let begun = Instant::now();
    loop {
        match check().await {
            Ok(seen) => return seen,
            Err(instead) if begun.elapsed() > within => {
                panic!("waited {within:?} in vain for {what}; last seen: {instead}")
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
