//! A second kind of plugin, which only these tests know: it shows that loading, limits, quarantine, swap and history are the same
//! for every kind, and that its budget is its own.

use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::{Map, Value, json};
use wasmtime::{
    Store,
    component::{HasSelf, Linker},
};

use super::world::{World, facts, guest, settings};
use crate::{
    CallFailure, EngineEvent, FailureKind, PluginSettings,
    bindings::types::Setting,
    guest::GuestState,
    kinds::{Budget, Contract, HealthKind, Kind, Served, Unit, kind_contract},
};

mod bindings {
    wasmtime::component::bindgen!({
        path: ["../../wit", "../../tests/echo/wit"],
        interfaces: "import test:echo/clock@0.2.0; export test:echo/echo@0.2.0;",
        imports: { default: async | trappable },
        exports: { default: async },
        with: { "router:common/types@0.2.0": crate::bindings::router::common::types },
    });
}

use bindings::{exports::test::echo::echo as wit, test::echo::clock};

const NAME: &str = "echo";

const KINDS: &[Served] = &[Served::of::<HealthKind>(), Served::of::<Echo>()];

#[derive(Debug)]
struct Echo;

impl Kind for Echo {
    kind_contract!(
        wit,
        Contract {
            world: "echo",
            question: "test:echo/echo@0.2.0",
            imports: &["test:echo/clock@0.2.0"],
            unit: Unit::Plugin,
            budget: Budget {
                calls_max: 3,
                wall: |_| Duration::from_secs(2),
                ..Budget::POLICY
            },
        }
    );

    type Question = String;
    type Answer = String;

    fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
        clock::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
    }

    async fn call(
        exports: &wit::Guest,
        store: &mut Store<GuestState>,
        text: &String,
        settings: &[Setting],
    ) -> wasmtime::Result<String> {
        exports.call_say(store, text, settings).await
    }

    fn show(text: &String, answer: Option<&String>) -> Map<String, Value> {
        let fields = [
            ("text".to_owned(), json!(text)),
            ("answer".to_owned(), json!(answer)),
        ];
        fields.into_iter().collect()
    }

    fn bytes(text: &String, answer: Option<&String>) -> usize {
        text.len() + answer.map_or(0, String::len)
    }
}

/// Calls that wait in the host now, and the most that ever did.
static WAITING: AtomicU32 = AtomicU32::new(0);
static WAITING_MOST: AtomicU32 = AtomicU32::new(0);

impl clock::Host for GuestState {
    async fn wait(&mut self, ms: u32) -> wasmtime::Result<()> {
        self.called()?;
        let waiting = WAITING.fetch_add(1, Ordering::Relaxed) + 1;
        WAITING_MOST.fetch_max(waiting, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(ms.into())).await;
        WAITING.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }
}

/// An engine for both kinds, with a plugin of each.
async fn loaded(settings: PluginSettings) -> World {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("plugins")).unwrap();
    let mut world = World::serving(KINDS, dir, settings, |_| {});
    for name in [NAME, "default-health"] {
        world.put(name, &guest(name));
        assert_eq!(world.swapped(name).await, 1);
    }
    world
}

async fn say(world: &World, text: &str) -> Option<Result<String, CallFailure>> {
    world
        .engine
        .ask::<Echo>((NAME, None), text.to_owned())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_kind_is_loaded_asked_recorded_and_replaced() {
    let world = loaded(PluginSettings::default()).await;
    assert_eq!(say(&world, "hello").await, Some(Ok("hello".to_owned())));
    let view = world.view(NAME);
    assert_eq!((view.state, view.world, view.calls), ("serving", "echo", 1));
    assert_eq!(view.own_name.as_deref(), Some("parrot"));
    let decision = serde_json::to_value(&view.decisions[0]).unwrap();
    assert_eq!(
        (&decision["text"], &decision["answer"]),
        (&json!("hello"), &json!("hello"))
    );
    // Neither is asked what the other one answers, nor is that held against it.
    assert!(world.judge(NAME).await.is_none());
    let asked = world
        .engine
        .ask::<Echo>(("default-health", None), String::new());
    assert!(asked.await.is_none());
    assert_eq!((world.view(NAME).calls, world.view(NAME).failures), (1, 0));
    assert!(world.judge("default-health").await.unwrap().is_ok());
    assert_eq!(world.view("default-health").world, "health-policy");
    // Another configuration is another generation, and a bad one leaves the one before.
    let report = world.engine.reconfigure(settings(NAME, "before = 'I say'"));
    assert_eq!(report.await.loaded, [NAME]);
    assert_eq!(
        say(&world, "hello").await,
        Some(Ok("I say hello".to_owned()))
    );
    let report = world
        .engine
        .reconfigure(settings(NAME, "after = 'x'"))
        .await;
    let reason = "it refuses its configuration: plugins.config.echo.after is not known";
    assert_eq!(report.refused[NAME], reason);
    assert_eq!(
        say(&world, "hello").await,
        Some(Ok("I say hello".to_owned()))
    );
    // Under the same name a plugin of another kind may follow.
    world.engine.reconfigure(PluginSettings::default()).await;
    world.put(NAME, &guest("default-health"));
    world
        .until("the other kind serves", |engine| {
            engine.show(NAME).unwrap().world == "health-policy"
        })
        .await;
    assert!(say(&world, "hello").await.is_none());
    assert_eq!(
        world.judge(NAME).await,
        Some(Ok(router_core::health::builtin(&facts())))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn its_calls_are_bounded_by_its_own_budget() {
    let world = loaded(PluginSettings::default()).await;
    // Longer than any call of a policy, and as many at once as its budget says.
    let asked: Vec<_> = (0..7)
        .map(|_| {
            let engine = world.engine.clone();
            tokio::spawn(async move {
                engine
                    .ask::<Echo>((NAME, None), "wait 600".to_owned())
                    .await
            })
        })
        .collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap(), Some(Ok("wait 600".to_owned())));
    }
    assert_eq!(
        WAITING_MOST.load(Ordering::Relaxed),
        Echo::CONTRACT.budget.calls_max
    );
    let failure = say(&world, "wait 10000").await.unwrap().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Timeout);
    assert_eq!(failure.message, "it waited for longer than 2000 ms");
    // What ran into a bound is in quarantine at once.
    assert!(say(&world, "hello").await.is_none());
    assert_eq!(world.view(NAME).state, "quarantined");
    assert!(world.judge("default-health").await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_may_run_no_longer_than_any_guest() {
    let world = loaded(PluginSettings::default()).await;
    let failure = say(&world, "loop").await.unwrap().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Timeout);
    assert!(failure.message.contains("50 ms"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_failures_are_a_quarantine_that_a_new_generation_ends() {
    let mut world = loaded(PluginSettings::default()).await;
    for _ in 0..3 {
        let failure = say(&world, "trap").await.unwrap().unwrap_err();
        assert_eq!(failure.kind, FailureKind::Trap);
    }
    let event = world.event().await;
    assert!(
        matches!(event, EngineEvent::Quarantined { .. }),
        "{event:?}"
    );
    assert!(say(&world, "hello").await.is_none());
    let error = serde_json::to_value(&world.view(NAME).decisions[0]).unwrap();
    assert!(error["error"].as_str().unwrap().contains("panicked"));
    world
        .engine
        .reconfigure(settings(NAME, "before = 'I say'"))
        .await;
    assert_eq!(
        say(&world, "hello").await,
        Some(Ok("I say hello".to_owned()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_for_another_kind_than_the_file_is_refused() {
    let mut world = loaded(PluginSettings::default()).await;
    let manifest = world.path(NAME).with_extension("toml");
    fs::write(&manifest, "world = 'health-policy'\n").unwrap();
    let reason = world.refused(NAME).await;
    assert!(
        reason.contains("health-policy, and the file was built for echo"),
        "{reason}"
    );
    fs::write(&manifest, "world = 'echo'\n").unwrap();
    assert_eq!(world.swapped(NAME).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_is_not_served_is_refused() {
    let mut world = World::new(PluginSettings::default());
    world.put(NAME, &guest(NAME));
    let reason = world.refused(NAME).await;
    assert!(reason.contains("test:echo/echo@0.2.0"), "{reason}");
    assert!(reason.contains("such as health-policy"), "{reason}");
}
