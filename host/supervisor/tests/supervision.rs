//! The supervisor and the shim together, on real processes: what is started is spoken to, adopted, stopped and swept,
//! and afterwards nothing of it is left.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests are tests too, which the lints cannot see outside of a test function"
)]

mod supervision {
    mod adoption;
    mod bounds;
    mod chaos;
    mod ending;
    mod harness;
    mod holding;
    mod loss;
    mod second_process;
    mod starting;
}
