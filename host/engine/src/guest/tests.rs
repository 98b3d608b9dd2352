//! What a store may take, however a component divides it, with a pool of stores and without.

use std::sync::Arc;

use wasmtime::{Store, component::Component};

use super::{Bound, GuestState, TABLE_ELEMENTS_MAX};
use crate::{
    Limits, NoValues,
    kinds::SERVED,
    machine::{Machine, Stores},
    values::Values,
};

/// A section of a binary.
fn section(id: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![id];
    number(&mut bytes, u32::try_from(body.len()).unwrap());
    bytes.extend_from_slice(body);
    bytes
}

/// LEB128.
fn number(bytes: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// A component with so many instances of one module, which has memories of so many MiB and tables of so many entries.
fn component(instances: u8, memories_mb: &[u32], tables: &[u32]) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    let mut body = vec![u8::try_from(tables.len()).unwrap()];
    for entries in tables {
        // Of functions, without a maximum.
        body.extend([0x70, 0]);
        number(&mut body, *entries);
    }
    module.extend(section(4, &body));
    let mut body = vec![u8::try_from(memories_mb.len()).unwrap()];
    for megabytes in memories_mb {
        body.push(0);
        number(&mut body, megabytes * 16);
    }
    module.extend(section(5, &body));
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    bytes.extend(section(1, &module));
    let mut body = vec![instances];
    for _ in 0..instances {
        // Of module 0, without arguments.
        body.extend([0, 0, 0]);
    }
    bytes.extend(section(2, &body));
    bytes
}

async fn instantiate(machine: &Machine, bytes: &[u8]) -> wasmtime::Result<()> {
    let component = Component::from_binary(&machine.engine, bytes)?;
    let made = machine.linker.instantiate_pre(&component)?;
    let values = Values::new(Arc::new(NoValues)).of("p").await;
    let limits = Limits {
        memory_bytes: 64 << 20,
        ..Limits::default()
    };
    let mut store = Store::new(
        &machine.engine,
        GuestState::new("p".into(), limits, values, Arc::default()),
    );
    store.limiter(|state| &mut state.space);
    // An hour of ticks: this is not about time.
    store.set_epoch_deadline(360_000);
    made.instantiate_async(&mut store).await.map(drop)
}

#[track_caller]
fn check(result: &wasmtime::Result<()>, expected: Result<(), Bound>) {
    let found = match result {
        Ok(()) => Ok(()),
        Err(error) => Err(*error.downcast_ref().unwrap_or_else(|| panic!("{error:#}"))),
    };
    assert_eq!(found, expected);
}

#[tokio::test]
async fn memories_and_tables_are_bounded_together() {
    let too_much = Err(Bound::Memory(64 << 20));
    let too_long = Err(Bound::Tables(TABLE_ELEMENTS_MAX));
    for stores in [Stores::Reserved, Stores::OneByOne] {
        let machine = Machine::start(None, stores, SERVED).unwrap();
        let made = async |instances, memories: &[u32], tables: &[u32]| {
            instantiate(&machine, &component(instances, memories, tables)).await
        };
        check(&made(1, &[40], &[15_000]).await, Ok(()));
        check(&made(2, &[32], &[10_000]).await, Ok(()));
        check(&made(2, &[40], &[]).await, too_much);
        check(&made(1, &[40, 40], &[]).await, too_much);
        check(&made(2, &[20, 20], &[]).await, too_much);
        check(&made(2, &[], &[15_000]).await, too_long);
        check(&made(1, &[], &[15_000, 15_000]).await, too_long);
        for (instances, memories, tables) in
            [(65, 0, 0), (1, 5, 0), (5, 1, 0), (1, 0, 9), (9, 0, 1)]
        {
            let many = made(instances, &vec![1; memories], &vec![1; tables]).await;
            let error = format!("{:#}", many.unwrap_err());
            assert!(error.contains("exceed"), "{error}");
        }
        machine.stop();
    }
}
