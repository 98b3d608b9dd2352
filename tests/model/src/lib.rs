//! The breaker's cell, compiled with loom's atomics in place of those of the standard library, as it is and with one bug each.
//! `tests/permit.rs` tries every order of its steps, and every value that the memory model lets a thread read.

mod sync;

/// What it holds and reports.
#[allow(clippy::all, dead_code)]
mod cell_state {
    include!(concat!(env!("OUT_DIR"), "/values.rs"));
}

/// The cell as it is.
#[allow(clippy::all, dead_code)]
pub mod permit {
    include!(concat!(env!("OUT_DIR"), "/as_it_is.rs"));
}

macro_rules! planted {
    ($($bug:ident)*) => {
        /// The cell with a bug that the model must find.
        #[allow(clippy::all, dead_code)]
        pub mod planted {
            $(pub mod $bug {
                include!(concat!(env!("OUT_DIR"), "/", stringify!($bug), ".rs"));
            })*
        }
    };
}

planted! {
    lease_of_any_generation
    lease_without_exchange
    gives_back_what_is_not_its_own
    late_mark_undoes_a_change
    leases_never_come_back
    word_before_leases
    word_not_released
}
