//! Generations that are tried before they are in force, held, confirmed and rejected.

use std::sync::Arc;

use router_core::policy::{Holding, PolicyAction, PolicyGenerations};

use super::world::{NAME, World, facts, guest, named_for_health, variant};
use crate::{DecisionError, EngineEvent, PluginSettings};

fn on(dir: tempfile::TempDir) -> World {
    let trials_dir = Some(dir.path().join("trials"));
    World::start(dir, PluginSettings::default(), |options| {
        options.trials_dir = trials_dir;
        options.policies = Some(named_for_health(&[NAME]));
    })
}

fn new() -> World {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("plugins")).unwrap();
    on(dir)
}

/// Ends a router, and starts another one on the same directories.
async fn restarted(world: World) -> World {
    world.engine.shutdown().await;
    on(world.dir)
}

fn generations(world: &World) -> PolicyGenerations {
    let mut all = world.engine.conditions().borrow().generations.clone();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn in_force(world: &World) -> u64 {
    world.view(NAME).generation
}

/// Waits until a candidate is there; its number.
async fn offered(world: &World, number: u64) {
    world
        .until("a candidate", |engine| {
            let trial = engine.show(NAME).and_then(|view| view.trial);
            trial.is_some_and(|trial| trial.generation == number)
        })
        .await;
}

fn apply(world: &World, generation: u64) {
    world.engine.carry_out(&PolicyAction::Apply {
        policy: NAME.into(),
        generation,
    });
}

fn hold(world: &World, generation: u64) {
    world.engine.carry_out(&PolicyAction::Hold {
        policy: NAME.into(),
        generation,
        holding: Arc::new(Holding {
            reason: "it would recycle all".to_owned(),
            changes: vec!["demo: unhealthy".to_owned()],
        }),
    });
}

/// The first generation is in force, and the second one is held.
async fn holding() -> World {
    let mut world = new();
    world.put(NAME, &guest(NAME));
    offered(&world, 1).await;
    apply(&world, 1);
    assert_eq!(world.swapped(NAME).await, 1);
    world.put(NAME, &variant(2));
    offered(&world, 2).await;
    hold(&world, 2);
    world
}

#[tokio::test]
async fn a_generation_is_a_candidate_until_it_is_applied() {
    let mut world = new();
    world.put(NAME, &guest(NAME));
    offered(&world, 1).await;
    assert!(world.judge(NAME).await.is_none(), "nothing is in force");
    let verdict = world.engine.judge(NAME, Some(1), facts()).await;
    assert!(verdict.unwrap().is_ok());
    assert!(world.engine.judge(NAME, Some(2), facts()).await.is_none());
    assert_eq!(world.view(NAME).state, "loading");
    apply(&world, 7);
    assert_eq!(in_force(&world), 0, "there is no such candidate");
    apply(&world, 1);
    assert_eq!(world.swapped(NAME).await, 1);
    assert!(world.judge(NAME).await.unwrap().is_ok());
    // While the next one is tried, the one before answers, and its calls are its own.
    world.put(NAME, &variant(2));
    offered(&world, 2).await;
    assert_eq!(in_force(&world), 1);
    let tried = world.engine.judge(NAME, Some(2), facts()).await;
    assert!(tried.unwrap().is_ok() && world.judge(NAME).await.unwrap().is_ok());
    assert_eq!(world.view(NAME).calls, 2);
    assert_eq!(generations(&world).candidate.unwrap().generation, 2);
}

#[tokio::test]
async fn what_is_held_is_confirmed_for_good() {
    let mut world = holding().await;
    let trial = world.view(NAME).trial.unwrap();
    assert_eq!(trial.reason.as_deref(), Some("it would recycle all"));
    assert_eq!((in_force(&world), world.view(NAME).state), (1, "serving"));
    assert!(generations(&world).candidate.unwrap().held.is_some());
    // It is held after a restart too, and the one before is in force, whose file is gone.
    world = restarted(world).await;
    assert_eq!(world.swapped(NAME).await, 1);
    offered(&world, 2).await;
    let digest = world.view(NAME).digest;
    assert!(generations(&world).candidate.unwrap().held.is_some());
    world.engine.confirm(NAME).await.unwrap();
    assert_eq!(in_force(&world), 2);
    assert_ne!(world.view(NAME).digest, digest);
    assert!(world.view(NAME).confirmed && world.view(NAME).trial.is_none());
    assert!(generations(&world).in_force.unwrap().is_confirmed);
    // A digest that was confirmed needs no trial.
    world = restarted(world).await;
    assert_eq!(world.swapped(NAME).await, 1);
    assert!(world.view(NAME).confirmed);
    let again = world.engine.confirm(NAME).await.unwrap_err();
    assert!(
        matches!(again, DecisionError::NothingToDecide(_)),
        "{again}"
    );
}

#[tokio::test]
async fn what_is_rejected_is_not_tried_again_and_the_one_before_is_in_force() {
    let mut world = holding().await;
    let before = world.view(NAME).digest;
    let done = world.engine.reject(NAME).await.unwrap();
    assert!(done.contains("generation 1 is in force"), "{done}");
    for _ in 0..2 {
        let view = world.view(NAME);
        assert_eq!((&view.digest, view.state), (&before, "serving"));
        assert_eq!(view.candidate.unwrap().code, "rejected");
        assert!(view.trial.is_none());
        assert!(world.judge(NAME).await.unwrap().is_ok());
        let report = world.engine.reload_now().await;
        assert!(report.refused[NAME].contains("rejected"), "{report:?}");
        world = restarted(world).await;
        assert_eq!(world.swapped(NAME).await, 1);
        world.refused(NAME).await;
    }
    // After all.
    world.engine.confirm(NAME).await.unwrap();
    assert_ne!(world.view(NAME).digest, before);
    // And back again: the one before is kept, although its file is not.
    world.engine.reject(NAME).await.unwrap();
    assert_eq!(world.view(NAME).digest, before);
}

#[tokio::test]
async fn a_generation_in_force_that_is_held_gives_way_to_the_one_before() {
    let mut world = holding().await;
    let before = world.view(NAME).digest;
    world.engine.confirm(NAME).await.unwrap();
    assert_eq!(world.swapped(NAME).await, 2);
    hold(&world, 2);
    assert_eq!(world.swapped(NAME).await, 3);
    assert_eq!(world.view(NAME).digest, before);
    assert_eq!(world.view(NAME).trial.unwrap().generation, 2);
    // Without one before it, the built-in rule answers.
    hold(&world, 3);
    assert_eq!((in_force(&world), world.view(NAME).state), (0, "held"));
    assert!(world.judge(NAME).await.is_none());
}

#[tokio::test]
async fn another_file_takes_the_place_of_what_is_held_and_the_old_one_ends_it() {
    let mut world = holding().await;
    world.put(NAME, &variant(3));
    offered(&world, 3).await;
    assert!(generations(&world).candidate.unwrap().held.is_none());
    hold(&world, 2);
    assert!(generations(&world).candidate.unwrap().held.is_none());
    world.put(NAME, &guest(NAME));
    world
        .until("the candidate to be gone", |engine| {
            engine.show(NAME).unwrap().trial.is_none()
        })
        .await;
    assert_eq!(in_force(&world), 1);
    // With its file the plugin goes, whatever is held.
    world.put(NAME, &variant(2));
    offered(&world, 4).await;
    std::fs::remove_file(world.path(NAME)).unwrap();
    loop {
        if let EngineEvent::Removed { .. } = world.event().await {
            break;
        }
    }
    assert!(world.judge(NAME).await.is_none());
}

#[tokio::test]
async fn a_plugin_is_tried_as_soon_as_a_policy_names_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("plugins")).unwrap();
    let trials_dir = Some(dir.path().join("trials"));
    let mut world = World::start(dir, PluginSettings::default(), |options| {
        options.trials_dir = trials_dir;
        options.policies = Some(named_for_health(&[]));
    });
    world.put(NAME, &guest(NAME));
    assert_eq!(world.swapped(NAME).await, 1);
    assert!(world.engine.conditions().borrow().generations.is_empty());
    assert!(world.judge(NAME).await.is_none(), "it has not been tried");
    world.engine.use_policies(named_for_health(&[NAME]));
    let one = generations(&world);
    assert_eq!((one.in_force, one.candidate.unwrap().generation), (None, 1));
    let unknown = world.engine.reject("no-such").await.unwrap_err();
    assert!(matches!(unknown, DecisionError::NoPlugin(_)));
}
