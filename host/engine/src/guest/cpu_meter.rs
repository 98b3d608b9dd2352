//! How long a call ran. Guests share a thread, and a call must not pay for the time of its neighbours.
//!
//! The thread's clock is a system call, and a call that is over in microseconds need not pay for that either. So a slice, which is
//! the time from one poll of a call to its end, begins at the last reading. The clock is read where nobody waits for an answer: when
//! a store was made and when it is dropped ([`read_clock`]), when a slice ends without an answer, at each tick, and when the thread
//! parks. What the thread does between a reading and the slice is the host's own work, and takes microseconds.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

thread_local! {
    /// The last reading of this thread's clock.
    static LAST_READING_NS: Cell<u64> = const { Cell::new(0) };
}

/// See the module. Written by the one thread that polls the call.
#[derive(Debug, Default)]
pub(crate) struct CpuMeter {
    /// What the slices before this one took.
    before_ns: AtomicU64,
    /// When this one began at the earliest, by the thread's own clock.
    began_ns: AtomicU64,
}

impl CpuMeter {
    /// How long the call ran so far. For the call itself, while it is polled.
    pub(crate) fn ran(&self) -> Duration {
        let began_ns = self.began_ns.load(Ordering::Relaxed);
        let before_ns = self.before_ns.load(Ordering::Relaxed);
        Duration::from_nanos(before_ns + read_clock().saturating_sub(began_ns))
    }

    /// Polls a call, and measures its slices.
    pub(crate) async fn measure<T>(&self, call: impl Future<Output = T>) -> T {
        let mut call = pin!(call);
        poll_fn(|context| {
            self.began_ns
                .store(LAST_READING_NS.get(), Ordering::Relaxed);
            let polled = call.as_mut().poll(context);
            if polled.is_pending() {
                let ran_ns = u64::try_from(self.ran().as_nanos()).unwrap_or(u64::MAX);
                self.before_ns.store(ran_ns, Ordering::Relaxed);
            }
            polled
        })
        .await
    }
}

/// Reads the thread's clock, in nanoseconds: the next slice begins here.
pub(crate) fn read_clock() -> u64 {
    let ran_ns = thread_ns();
    LAST_READING_NS.set(ran_ns);
    ran_ns
}

/// How long this thread has run.
fn thread_ns() -> u64 {
    let ran = clock_gettime(ClockId::ThreadCPUTime);
    let (s, ns) = (ran.tv_sec.cast_unsigned(), ran.tv_nsec.cast_unsigned());
    s * 1_000_000_000 + ns
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CpuMeter, read_clock, thread_ns};
    use crate::{
        kinds::SERVED,
        machine::{Machine, Stores},
    };

    fn compute(ms: u64) {
        let begun = thread_ns();
        while thread_ns() - begun < ms * 1_000_000 {
            std::hint::spin_loop();
        }
    }

    #[tokio::test]
    async fn a_call_does_not_pay_for_the_time_of_others() {
        read_clock();
        let (slow, quick) = (CpuMeter::default(), CpuMeter::default());
        let work = async |meter: &CpuMeter, ms: u64| {
            let call = async {
                for _ in 0..4 {
                    compute(ms);
                    tokio::task::yield_now().await;
                }
                meter.ran()
            };
            meter.measure(call).await
        };
        let (slow, quick) = tokio::join!(work(&slow, 20), work(&quick, 2));
        assert!(slow >= Duration::from_millis(80), "{slow:?}");
        // Each of them ran alternately with the other, on the same thread.
        let is_its_own = (Duration::from_millis(8)..Duration::from_millis(20)).contains(&quick);
        assert!(is_its_own, "{quick:?}");
    }

    #[tokio::test]
    async fn a_call_does_not_pay_for_what_its_thread_did_before_it_parked() {
        let machine = Machine::start(None, Stores::OneByOne, SERVED).unwrap();
        let work = async {
            compute(50);
            // The thread parks.
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        machine.runtime.spawn(work).await.unwrap();
        let call = async {
            let meter = CpuMeter::default();
            meter.measure(async { meter.ran() }).await
        };
        let ran = machine.runtime.spawn(call).await.unwrap();
        assert!(ran < Duration::from_millis(10), "{ran:?}");
        machine.stop();
    }
}
