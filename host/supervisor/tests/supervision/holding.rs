//! One holder at a time, and what a shim says to those who are not.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    os::{fd::AsFd as _, unix::net::UnixStream},
    time::{Duration, Instant},
};

use godot_mcp_shim::{
    protocol::{FromShim, Hello, ToShim},
    wire::{Readable, Wire},
};
use router_supervisor::{ExitCause, ProcessExit, SupervisorEvent};

use super::{
    harness::{DEADLINE, ROUTER, Yard, pause, ponger},
    second_process::OtherRouter,
};

/// A control connection without a supervisor.
struct ByHand {
    stream: UnixStream,
    wire: Wire,
}

impl ByHand {
    fn connect(yard: &Yard, instance: &str) -> Self {
        let stream = UnixStream::connect(yard.socket(instance)).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self {
            stream,
            wire: Wire::default(),
        }
    }

    fn say(&mut self, message: &ToShim) {
        self.wire.push(message, Vec::new()).unwrap();
        assert!(self.wire.write_to(self.stream.as_fd()).unwrap());
    }

    /// The next message, or nothing if the shim closes the connection.
    async fn receive(&mut self) -> Option<FromShim> {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some((message, _)) = self.wire.take().unwrap() {
                return Some(message);
            }
            if self.wire.read_from(self.stream.as_fd()).unwrap() == Readable::End {
                return None;
            }
            assert!(Instant::now() < end, "the shim does not answer");
            pause().await;
        }
    }
}

#[tokio::test]
async fn a_second_router_learns_who_holds_the_slot_until_that_process_is_gone() {
    let yard = Yard::new();
    let mut other = OtherRouter::start(yard.path(), ROUTER, "demo");
    let mut router = yard.router();
    let (events, adopted) = router.adopt().await;
    let [SupervisorEvent::HeldElsewhere { router_id, pid, .. }] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(
        (router_id.as_str(), *pid, adopted),
        (ROUTER, other.process.id(), 0)
    );
    // A launch does not take by force what asking did not give.
    let error = router.spawn_failure("demo", ponger()).await;
    let holder = other.process.id().to_string();
    assert!(
        error.contains("same name") && error.contains(&holder),
        "{error}"
    );
    other.kill();
    let (mut running, _, _) = router.adopt_one().await;
    assert_eq!(running.pid, other.child_pid);
    running.converse("ping", "pong").await;
    router.kill(&running).await;
    yard.assert_clean().await;
}

#[tokio::test]
async fn another_routers_instance_is_neither_adopted_nor_replaced() {
    let yard = Yard::new();
    let mut owner = yard.router_with(|config| config.router_id = "owner".into());
    let mut running = owner.start("demo", 1, ponger()).await;
    let mut router = yard.router();
    let (events, adopted) = router.adopt().await;
    assert_eq!((events.len(), adopted), (0, 0));
    let error = router.spawn_failure("demo", ponger()).await;
    assert!(error.contains("router owner"), "{error}");
    running.converse("ping", "pong").await;
    owner.kill(&running).await;
    yard.assert_clean().await;
}

#[tokio::test]
async fn a_closed_connection_alone_does_not_free_the_slot() {
    let yard = Yard::new();
    let mut owner = yard.router_with(|config| config.router_id = "owner".into());
    let running = owner.start("demo", 1, ponger()).await;
    // The process of the owner, this one, lives on, and its descriptors with it.
    drop(owner);
    let mut stranger = ByHand::connect(&yard, "demo");
    stranger.say(&ToShim::Hello(Hello::new("stranger", 1)));
    let own = std::process::id();
    assert_eq!(
        stranger.receive().await,
        Some(FromShim::Busy {
            router_id: "owner".into(),
            pid: own
        })
    );
    assert_eq!(
        stranger.receive().await,
        None,
        "after the refusal the connection is closed"
    );
    // The same process under the same name knows what it holds; once it has released it, another may come.
    let mut again = ByHand::connect(&yard, "demo");
    again.say(&ToShim::Hello(Hello::new("owner", 1)));
    assert!(matches!(again.receive().await, Some(FromShim::Welcome(_))));
    again.say(&ToShim::Release);
    assert_eq!(again.receive().await, None);
    let mut stranger = ByHand::connect(&yard, "demo");
    stranger.say(&ToShim::Hello(Hello::new("stranger", 1)));
    assert!(matches!(
        stranger.receive().await,
        Some(FromShim::Welcome(_))
    ));
    stranger.say(&ToShim::Kill);
    let Some(FromShim::Exited(report)) = stranger.receive().await else {
        panic!("no report")
    };
    assert_eq!(
        (report.exit, report.cause),
        (Some(ProcessExit::Signal(9)), ExitCause::Killed)
    );
    stranger.say(&ToShim::ExitSeen);
    assert_eq!(stranger.receive().await, None);
    drop(running);
    yard.assert_clean().await;
}

#[tokio::test]
async fn a_router_whose_connection_was_taken_takes_it_back() {
    let yard = Yard::new();
    let mut router = yard.router();
    let mut running = router.start("demo", 1, ponger()).await;
    let mut thief = ByHand::connect(&yard, "demo");
    thief.say(&ToShim::Hello(Hello::new(ROUTER, 1)));
    assert!(matches!(thief.receive().await, Some(FromShim::Welcome(_))));
    assert_eq!(
        thief.receive().await,
        None,
        "the supervisor connects again and is the holder"
    );
    running.converse("ping", "pong").await;
    router
        .supervisor
        .stop(&running.key, running.run, Duration::from_secs(20));
    assert_eq!(router.exit().await.exit, Some(ProcessExit::Signal(15)));
    yard.assert_clean().await;
}

#[tokio::test]
async fn those_who_do_not_say_hello_properly_are_sent_away_and_disturb_nobody() {
    let yard = Yard::new();
    let mut router = yard.router();
    let mut running = router.start("demo", 1, ponger()).await;
    let future = Hello {
        protocol: 99,
        protocol_oldest: 98,
        router_id: "future".into(),
        epoch: 1,
    };
    for (message, part) in [(ToShim::Kill, "hello"), (ToShim::Hello(future), "protocol")] {
        let mut stranger = ByHand::connect(&yard, "demo");
        stranger.say(&message);
        match stranger.receive().await {
            Some(FromShim::Refused { reason }) => assert!(reason.contains(part), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(stranger.receive().await, None);
    }
    let mut rude = UnixStream::connect(yard.socket("demo")).unwrap();
    rude.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    rude.set_read_timeout(Some(DEADLINE)).unwrap();
    match rude.read(&mut [0; 16]) {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    // More silent connections than there may be: the router's own is not affected.
    let silent: Vec<UnixStream> = (0..40)
        .map(|_| UnixStream::connect(yard.socket("demo")).unwrap())
        .collect();
    running.converse("ping", "pong").await;
    router
        .supervisor
        .stop(&running.key, running.run, Duration::from_secs(20));
    assert_eq!(router.exit().await.cause, ExitCause::Stopped);
    drop(silent);
    yard.assert_clean().await;
}

#[tokio::test]
async fn a_message_that_this_shim_does_not_know_is_answered_and_ignored() {
    let yard = Yard::new();
    let mut router = yard.router();
    let running = router.start("demo", 1, ponger()).await;
    drop(router);
    let mut newer = ByHand::connect(&yard, "demo");
    newer.say(&ToShim::Hello(Hello {
        protocol: 7,
        ..Hello::new(ROUTER, 2)
    }));
    let Some(FromShim::Welcome(welcome)) = newer.receive().await else {
        panic!("no welcome")
    };
    assert_eq!(welcome.protocol, godot_mcp_shim::protocol::PROTOCOL);
    newer
        .stream
        .write_all(b"{\"type\":\"checkpoint\",\"to\":\"/x\"}\n")
        .unwrap();
    assert_eq!(newer.receive().await, Some(FromShim::Unsupported));
    newer.say(&ToShim::Kill);
    assert!(matches!(newer.receive().await, Some(FromShim::Exited(_))));
    newer.say(&ToShim::ExitSeen);
    drop(running);
    yard.assert_clean().await;
}
