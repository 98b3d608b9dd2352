//! What guests do that misbehave, whatever they are asked. The guests themselves are in `examples`, one for each world: they misbehave as
//! their configuration demands.

/// Never ends.
#[allow(clippy::empty_loop, reason = "this is what it is for")]
pub fn endless() -> ! {
    loop {
        std::hint::black_box(());
    }
}

/// Panics.
#[allow(clippy::panic, reason = "this is what it is for")]
pub fn trap() -> ! {
    panic!("as it was configured")
}

/// Takes memory for as long as there is any.
pub fn memory() -> ! {
    let mut held: Vec<Vec<u8>> = Vec::new();
    loop {
        held.push(vec![1; 1 << 20]);
        std::hint::black_box(&held);
    }
}
