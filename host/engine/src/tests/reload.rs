//! Reload: a good candidate is taken into service, a bad one leaves the one before, and the reason is reported.

use std::{fs, io::Write as _, time::Duration};

use crate::{Conditions, Engine, EngineEvent, EngineOptions, PluginSettings};

use super::world::{NAME, World, facts, guest, loaded, named_for_health, settings, variant};
use router_core::policy::PolicyKind;

#[tokio::test(flavor = "multi_thread")]
async fn the_bundled_policy_judges_as_the_built_in_default() {
    let world = loaded().await;
    let verdict = world.judge(NAME).await.unwrap().unwrap();
    assert_eq!(verdict, router_core::health::builtin(&facts()));
    let view = world.view(NAME);
    assert_eq!((view.state, view.generation, view.calls), ("serving", 1, 1));
    assert!(view.call_micros.p50.unwrap() > 0.0);
    assert_eq!(view.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(view.own_name.as_deref(), Some(NAME));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_file_is_another_generation_and_the_old_one_ends() {
    let mut world = loaded().await;
    world.put(NAME, &variant(1));
    assert_eq!(world.swapped(NAME).await, 2);
    assert!(world.judge(NAME).await.unwrap().is_ok());
    world
        .until("one generation lives", |engine| {
            engine.show(NAME).unwrap().live_generations == 1
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_configuration_is_another_generation() {
    let mut world = loaded().await;
    let report = world
        .engine
        .reconfigure(settings(NAME, "memory_degraded_mb = 1000"))
        .await;
    assert_eq!(report.loaded, [NAME]);
    assert_eq!(world.swapped(NAME).await, 2);
    let verdict = world.judge(NAME).await.unwrap().unwrap();
    assert!(!verdict.reason.contains("memory"), "{verdict:?}");
    // The same again is nothing new.
    let report = world
        .engine
        .reconfigure(settings(NAME, "memory_degraded_mb = 1000"))
        .await;
    assert_eq!(report.unchanged, [NAME]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_configuration_leaves_the_one_before() {
    let mut world = loaded().await;
    let faulty = settings(NAME, "memory_mb = 5\nerrors_degraded = 7");
    let report = world.engine.reconfigure(faulty.clone()).await;
    // The same again is as wrong as before, and reported so.
    assert_eq!(world.engine.reconfigure(faulty).await, report);
    assert!(report.refused[NAME].contains("memory_mb"), "{report:?}");
    let reason = world.refused(NAME).await;
    assert!(
        reason.contains("plugins.config.default-health.memory_mb"),
        "{reason}"
    );
    assert!(reason.contains("errors_degraded"), "{reason}");
    let view = world.view(NAME);
    assert_eq!((view.state, view.generation), ("serving", 1));
    let candidate = view.candidate.unwrap();
    assert_eq!((candidate.code, candidate.tries), ("refused_config", 2));
    assert_eq!(view.refusals["refused_config"], 1);
    assert!(world.judge(NAME).await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_copied_file_loads_when_it_is_complete() {
    let mut world = loaded().await;
    let whole = variant(3);
    let (first, second) = whole.split_at(whole.len() / 3);
    let mut file = fs::File::create(world.path(NAME)).unwrap();
    file.write_all(first).unwrap();
    file.sync_all().unwrap();
    let reason = world.refused(NAME).await;
    assert!(reason.contains("copy"), "{reason}");
    assert!(world.judge(NAME).await.unwrap().is_ok());
    file.write_all(second).unwrap();
    drop(file);
    assert_eq!(world.swapped(NAME).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_rapid_rewrites_end_with_the_last() {
    let mut world = loaded().await;
    for round in 0..1_000_u32 {
        let tag = u8::try_from(round % 250).unwrap();
        match round % 3 {
            0 => world.put(NAME, &variant(tag)),
            1 => fs::write(world.path(NAME), &variant(tag)[..2_000]).unwrap(),
            _ => fs::write(world.path(NAME), variant(tag)).unwrap(),
        }
        if round % 100 == 0 {
            assert!(world.judge(NAME).await.unwrap().is_ok());
        }
    }
    world.put(NAME, &variant(255));
    let report = world.engine.reload_now().await;
    assert!(report.refused.is_empty(), "{report:?}");
    let view = world.view(NAME);
    assert_eq!((view.state, view.candidate), ("serving", None));
    assert!(world.judge(NAME).await.unwrap().is_ok());
    world
        .until("one generation lives", |engine| {
            engine.show(NAME).unwrap().live_generations == 1
        })
        .await;
    // Nothing is left to do: the next scan finds all as it was.
    while tokio::time::timeout(Duration::from_millis(700), world.event())
        .await
        .is_ok()
    {}
    assert_eq!(world.engine.reload_now().await.unchanged, [NAME]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_whose_file_is_gone_for_good_is_gone() {
    let mut world = loaded().await;
    fs::remove_file(world.path(NAME)).unwrap();
    world.engine.reload_now().await;
    assert!(
        world.judge(NAME).await.is_some(),
        "a file that is being replaced is missing for a moment"
    );
    let event = world.event().await;
    assert_eq!(
        event,
        EngineEvent::Removed {
            plugin: NAME.into()
        }
    );
    assert!(world.judge(NAME).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_replaced_is_watched_again() {
    let mut world = loaded().await;
    let plugins = world.dir.path().join("plugins");
    fs::rename(&plugins, world.dir.path().join("old")).unwrap();
    fs::create_dir(&plugins).unwrap();
    world.put(NAME, &variant(1));
    assert_eq!(world.swapped(NAME).await, 2);
    world.put(NAME, &variant(2));
    assert_eq!(world.swapped(NAME).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_appears_later_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::on(dir, PluginSettings::default());
    assert!(world.engine.reload_now().await.loaded.is_empty());
    fs::create_dir(world.dir.path().join("plugins")).unwrap();
    world.put(NAME, &guest(NAME));
    assert_eq!(world.swapped(NAME).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_past_the_bound_is_not_read() {
    let mut settings = PluginSettings::default();
    settings.limits.file_bytes = 1_000;
    let mut world = World::new(settings);
    world.put(NAME, &guest(NAME));
    let reason = world.refused(NAME).await;
    assert!(reason.contains("plugins.limits.max_file_mb"), "{reason}");
    // It is reported once, not at each scan; and it loads once the bound lets it.
    for _ in 0..3 {
        assert_eq!(world.engine.reload_now().await.refused[NAME], reason);
    }
    assert_eq!(world.view(NAME).refusals["too_large"], 1);
    world.engine.reconfigure(PluginSettings::default()).await;
    assert_eq!(world.swapped(NAME).await, 1);
    assert!(world.view(NAME).candidate.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_is_judged_at_once_gets_an_answer_each() {
    let mut world = World::new(settings("hostile-health", "mode = 'loop'"));
    for name in [NAME, "hostile-health"] {
        world.put(name, &guest(name));
        assert_eq!(world.swapped(name).await, 1);
    }
    let ask = |policy: &'static str| {
        let engine = world.engine.clone();
        tokio::spawn(async move { engine.judge(policy, None, facts()).await })
    };
    // While one call uses up its time, all the others come to wait behind it.
    let slow = ask("hostile-health");
    let asked: Vec<_> = (0..1_000).map(|_| ask(NAME)).collect();
    for (at, answer) in asked.into_iter().enumerate() {
        let answer = answer.await.unwrap();
        assert!(matches!(answer, Some(Ok(_))), "call {at}: {answer:?}");
    }
    assert!(matches!(slow.await.unwrap(), Some(Err(_))));
    assert_eq!(world.view(NAME).failures, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_memory_than_at_the_start_is_there_after_a_reload() {
    let mut settings = PluginSettings::default();
    settings.limits.memory_bytes = 64 * 1024;
    let mut world = World::new(settings);
    world.put(NAME, &guest(NAME));
    let reason = world.refused(NAME).await;
    assert!(reason.contains("memory"), "{reason}");
    world.engine.reconfigure(PluginSettings::default()).await;
    assert_eq!(world.swapped(NAME).await, 1);
    assert!(world.judge(NAME).await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_in_place_of_a_file_keeps_nobody_waiting() {
    let mut world = loaded().await;
    let pipe = world.dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    fs::rename(pipe, world.path(NAME)).unwrap();
    let reason = world.refused(NAME).await;
    assert!(reason.contains("regular file"), "{reason}");
    assert!(world.judge(NAME).await.unwrap().is_ok());
    // The very same file again, once it can be read.
    world.put(NAME, &guest(NAME));
    assert_eq!(world.swapped(NAME).await, 2);
    assert!(world.view(NAME).candidate.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn values_survive_calls_and_generations() {
    let mut world = World::hostile("count").await;
    let counted =
        async |world: &World| world.judge("hostile-health").await.unwrap().unwrap().reason;
    assert_eq!(counted(&world).await, "count 1");
    assert_eq!(counted(&world).await, "count 2");
    world
        .engine
        .reconfigure(settings("hostile-health", "mode = 'count'\nx = 1"))
        .await;
    assert_eq!(world.swapped("hostile-health").await, 2);
    assert_eq!(counted(&world).await, "count 3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_generation_begins_with_figures_of_its_own() {
    let mut world = World::hostile("trap").await;
    for _ in 0..2 {
        assert!(world.judge("hostile-health").await.unwrap().is_err());
    }
    let view = world.view("hostile-health");
    assert_eq!((view.calls, view.failures), (2, 2));
    assert_eq!(view.last_failure, view.lifetime.last_failure);
    world
        .engine
        .reconfigure(settings("hostile-health", "mode = 'nothing'"))
        .await;
    assert_eq!(world.swapped("hostile-health").await, 2);
    assert!(world.judge("hostile-health").await.unwrap().is_ok());
    let view = world.view("hostile-health");
    assert_eq!((view.calls, view.failures, view.last_error), (1, 0, None));
    assert!(view.failures_by_kind.is_empty() && view.last_failure.is_none());
    assert!(view.call_micros.p99.is_some());
    let lifetime = view.lifetime;
    assert_eq!((lifetime.calls, lifetime.failures), (3, 2));
    assert_eq!(lifetime.failures_by_kind["trap"], 2);
    let last = lifetime.last_failure.unwrap();
    assert_eq!((last.generation, last.kind), (1, crate::FailureKind::Trap));
    assert!(last.printed.unwrap().contains("as it was configured"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_for_a_passing_reason_is_tried_again() {
    let mut world = World::new(settings("hostile-health", "at_load = 'trap'"));
    world.put("hostile-health", &guest("hostile-health"));
    world.refused("hostile-health").await;
    let tries = |engine: &Engine| {
        let candidate = engine.show("hostile-health").unwrap().candidate.unwrap();
        assert_eq!(candidate.code, "failed_at_load");
        assert!(candidate.next_try_in_ms.is_some());
        candidate.tries
    };
    // By itself.
    world
        .until("it is tried again", |engine| tries(engine) > 1)
        .await;
    // And at once when somebody asks for it.
    let before = tries(&world.engine);
    let report = world.engine.reload_now().await;
    assert!(report.refused["hostile-health"].contains("panicked"));
    assert!(tries(&world.engine) > before);
    assert_eq!(world.view("hostile-health").refusals["failed_at_load"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_a_policy_names_is_shown_from_the_first_moment() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("plugins")).unwrap();
    fs::write(dir.path().join("plugins/default-health.wasm"), guest(NAME)).unwrap();
    let named = |options: &mut EngineOptions| {
        options.policies = Some(named_for_health(&[NAME, "another"]));
    };
    let world = World::start(dir, PluginSettings::default(), named);
    for (name, at_last) in [(NAME, "serving"), ("another", "missing")] {
        loop {
            let view = world.view(name);
            assert!(view.in_use, "{view:?}");
            if view.state == at_last {
                break;
            }
            assert_eq!(view.state, "loading", "{name}");
            assert!(world.engine.list().iter().any(|one| one.name == name));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_without_a_plugin_is_reported_once_and_shown() {
    let mut world = loaded().await;
    let missing = ["another".to_owned()];
    world.engine.use_policies(named_for_health(&["another"]));
    let missing_event = EngineEvent::Missing {
        plugin: "another".to_owned(),
    };
    assert_eq!(world.event().await, missing_event);
    let report = world.engine.reload_now().await;
    assert_eq!(report.missing, missing.into());
    let view = world.view("another");
    assert_eq!(
        (view.state, view.in_use, view.generation),
        ("missing", true, 0)
    );
    assert!(view.reason.unwrap().contains("no another.wasm"));
    assert!(world.engine.list().iter().any(|one| one.name == "another"));
    assert!(!world.view(NAME).in_use);
    world.put("another", &guest(NAME));
    // Nothing else was reported meanwhile.
    let event = world.event().await;
    assert!(matches!(event, EngineEvent::Swapped { .. }), "{event:?}");
    assert_eq!(world.view("another").state, "serving");
    assert!(world.engine.reload_now().await.missing.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_that_do_not_judge_as_configured_and_settings_of_nobody_are_conditions() {
    let world = loaded().await;
    let mut conditions = world.engine.conditions();
    // What is not there is known after the first scan.
    world.engine.reload_now().await;
    let mut now = || conditions.borrow_and_update().clone();
    assert_eq!(now(), Conditions::default());
    let used = named_for_health;
    world.engine.use_policies(used(&[NAME, "another"]));
    let fault = now().faults.remove(0);
    let late = world.engine.conditions().has_changed();
    assert!(late.unwrap(), "one who asks later hears of it too");
    assert!(fault.starts_with("policy another: "), "{fault}");
    assert!(fault.contains("no another.wasm"), "{fault}");

    // Refused settings of one that is used, and settings of one that is not there.
    let mut faulty = settings(NAME, "memory_mb = 5");
    faulty
        .config
        .insert("default-heath".to_owned(), toml::Table::new());
    world.engine.reconfigure(faulty).await;
    let Conditions {
        faults, unknown, ..
    } = now();
    assert_eq!(unknown, ["default-heath".to_owned()].into());
    let [_, refused] = &faults[..] else {
        panic!("{faults:?}")
    };
    assert!(
        refused.starts_with("policy default-health: generation 1 goes on"),
        "{refused}"
    );
    assert!(refused.contains("memory_mb"), "{refused}");

    // A file that is damaged, or being copied, while the one before goes on is none; nor is what no policy names.
    fs::write(world.path(NAME), b"").unwrap();
    world.engine.reconfigure(PluginSettings::default()).await;
    assert_eq!(world.view(NAME).candidate.unwrap().code, "damaged");
    assert_eq!(now().faults.len(), 1, "only the one that is missing");
    world.engine.use_policies(used(&[]));
    assert_eq!(now(), Conditions::default());

    // One that is named for what another kind answers.
    let kinds = [PolicyKind::Health, PolicyKind::Breaker];
    let named = [(NAME.to_owned(), kinds.into())];
    world.engine.use_policies(named.into());
    let fault = "policy default-health: it is a health-policy, and is named for a breaker-policy";
    assert_eq!(now().faults, [fault]);

    let many: Vec<String> = (0..20).map(|n| format!("p{n:02}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    world.engine.use_policies(used(&many));
    let faults = now().faults;
    assert_eq!(
        (faults.len(), faults[5].as_str()),
        (6, "and 15 more policies")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_name_cannot_be_used_is_refused_with_the_reason() {
    let mut world = loaded().await;
    world.put("Big One", &guest(NAME));
    let reason = world.refused("Big One").await;
    assert!(reason.contains("not a name"), "{reason}");
    let view = world.view("Big One");
    assert_eq!((view.state, view.generation), ("refused", 0));
    assert_eq!(view.candidate.unwrap().code, "bad_name");
    assert_eq!(view.reason, Some(reason));
    assert_eq!(world.view(NAME).state, "serving");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_read_leaves_everything_as_it_was() {
    let world = loaded().await;
    let plugins = world.dir.path().join("plugins");
    fs::rename(&plugins, world.dir.path().join("old")).unwrap();
    fs::write(&plugins, "a file").unwrap();
    let report = world.engine.reload_now().await;
    assert!(report.fault.unwrap().contains("irectory"));
    assert!(world.judge(NAME).await.unwrap().is_ok());
}
