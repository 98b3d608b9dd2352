//! The two waits after the loss of a run. They belong to different rooms and depend on each other, so they stand together.
//!
//! A process that ends closes its output a moment before its shim reports the exit. The driver waits for that report, which says more
//! than the closed output does. Clients whose requests were lost wait longer than the driver: by then the routing table says what
//! happens next, and their error can too.

use std::time::Duration;

/// How long after the end of a connection the driver waits for the exit report of the shim. The report of a process that has ended comes
/// within milliseconds; a process that only closed its output is given up after this.
pub const EXIT_REPORT_WAIT: Duration = Duration::from_millis(500);

/// How long a lost request waits for the routing table to say what happens next: the driver's wait, and as long again for its step on
/// a loaded machine.
pub const NEXT_ROUTE_WAIT: Duration = Duration::from_secs(1);

const _: () = assert!(NEXT_ROUTE_WAIT.as_millis() >= 2 * EXIT_REPORT_WAIT.as_millis());
