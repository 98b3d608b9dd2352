use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
};

use super::{Readable, Wire, WireError};
use crate::protocol::{FdKind, FromShim, LINE_BYTES_MAX, ToShim};

fn pair() -> (UnixStream, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    (near, far)
}

/// Moves bytes until the receiver has a message or the bound of tries is reached.
fn carry(
    sender: &mut Wire,
    near: &UnixStream,
    receiver: &mut Wire,
    far: &UnixStream,
) -> (FromShim, super::PassedFds) {
    for _ in 0..10_000 {
        sender.write_to(near.as_fd()).unwrap();
        receiver.read_from(far.as_fd()).unwrap();
        if let Some(message) = receiver.take().unwrap() {
            return message;
        }
    }
    panic!("no message arrived");
}

#[test]
fn descriptors_arrive_with_their_own_message() {
    let (near, far) = pair();
    let (mut sender, mut receiver) = (Wire::default(), Wire::default());
    let (read_a, write_a) = rustix::pipe::pipe().unwrap();
    let (read_b, write_b) = rustix::pipe::pipe().unwrap();
    sender.push(&FromShim::Unsupported, vec![]).unwrap();
    sender
        .push(
            &FromShim::Started { pid: 1 },
            vec![(FdKind::Stdout, read_a)],
        )
        .unwrap();
    sender
        .push(&FromShim::Started { pid: 2 }, vec![(FdKind::Blob, read_b)])
        .unwrap();
    File::from(write_a).write_all(b"a").unwrap();
    File::from(write_b).write_all(b"b").unwrap();

    let (first, none) = carry(&mut sender, &near, &mut receiver, &far);
    assert_eq!((first, none.len()), (FromShim::Unsupported, 0));
    for (pid, kind, content) in [(1, FdKind::Stdout, "a"), (2, FdKind::Blob, "b")] {
        let (message, mut fds) = carry(&mut sender, &near, &mut receiver, &far);
        assert_eq!(message, FromShim::Started { pid });
        let (passed, fd): (FdKind, OwnedFd) = fds.pop().unwrap();
        assert_eq!(passed, kind);
        let mut text = String::new();
        File::from(fd).read_to_string(&mut text).unwrap();
        assert_eq!(text, content);
    }
}

#[test]
fn a_line_larger_than_the_socket_buffer_arrives_whole() {
    let (near, far) = pair();
    let (mut sender, mut receiver) = (Wire::default(), Wire::default());
    let error = "x".repeat(700 * 1024);
    let (read, _write) = rustix::pipe::pipe().unwrap();
    sender
        .push(
            &FromShim::SpawnFailed {
                error: error.clone(),
            },
            vec![(FdKind::Stdin, read)],
        )
        .unwrap();
    let (message, fds) = carry(&mut sender, &near, &mut receiver, &far);
    assert_eq!(message, FromShim::SpawnFailed { error });
    assert_eq!(fds.len(), 1);
}

#[test]
fn bounds_hold_on_both_sides() {
    let (near, far) = pair();
    let mut wire = Wire::default();
    let too_long = FromShim::SpawnFailed {
        error: "x".repeat(LINE_BYTES_MAX),
    };
    assert!(matches!(
        wire.push(&too_long, vec![]),
        Err(WireError::LineTooLong)
    ));
    let long = FromShim::SpawnFailed {
        error: "x".repeat(LINE_BYTES_MAX - 100),
    };
    wire.push(&long, vec![]).unwrap();
    wire.push(&long, vec![]).unwrap();
    assert!(matches!(
        wire.push(&long, vec![]),
        Err(WireError::QueueFull)
    ));

    let mut receiver = Wire::default();
    let chunk = vec![b'y'; 64 * 1024];
    let mut near = near;
    let refused = (0..10_000).any(|_| {
        let _full = near.write(&chunk);
        receiver.read_from(far.as_fd()).unwrap();
        matches!(receiver.take::<ToShim>(), Err(WireError::LineTooLong))
    });
    assert!(refused, "a line without end must be refused");
}

#[test]
fn a_line_that_lies_about_its_descriptors_is_refused() {
    let (mut near, far) = pair();
    let mut receiver = Wire::default();
    near.write_all(b"{\"passes\":[\"blob\"],\"type\":\"blob\"}\n")
        .unwrap();
    assert_eq!(receiver.read_from(far.as_fd()).unwrap(), Readable::Some);
    assert!(matches!(
        receiver.take::<ToShim>(),
        Err(WireError::DescriptorsMissing)
    ));
}

#[test]
fn garbage_is_refused_and_the_end_is_seen() {
    let (mut near, far) = pair();
    let mut receiver = Wire::default();
    near.write_all(b"\xff\xfe{]\n").unwrap();
    receiver.read_from(far.as_fd()).unwrap();
    assert!(matches!(
        receiver.take::<ToShim>(),
        Err(WireError::NotAMessage(_))
    ));
    assert_eq!(
        receiver.read_from(far.as_fd()).unwrap(),
        Readable::NothingNow
    );
    drop(near);
    assert_eq!(receiver.read_from(far.as_fd()).unwrap(), Readable::End);
}
