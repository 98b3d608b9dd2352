//! What somebody sees who starts the router for the first time, on the configuration that it comes with: `make run` after its build,
//! then what README.md shows, block by block, and then a first policy, as docs/plugins.md walks through it.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use router_tests::{
    Config, Router,
    blocks::{self, Block},
    peers, shell, until,
};
use serde_json::json;
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(30);

/// A policy and all that it is made from, twice, on a machine that does other things as well: a minute or two.
const BUILD_WITHIN: Duration = Duration::from_secs(900);

/// A router on the configuration that comes with it.
async fn newcomer() -> Router {
    let mut router = Router::prepared(&Config::new().bundled_policy(), &[]);
    let sockets = router.path("s").display().to_string();
    let repository = peers::repository();
    // The same relative paths as in the repository; only the port and the folder of the sockets are the test's own.
    fs::create_dir_all(router.path("plugins/dist")).unwrap();
    for (file, name) in [
        (peers::bundled_policy(), "default-health.wasm"),
        (peers::bundled_breaker_policy(), "default-breaker.wasm"),
        (peers::bundled_capacity_policy(), "default-capacity.wasm"),
    ] {
        fs::copy(file, router.path("plugins/dist").join(name)).unwrap();
    }
    peers::copy_project("demo", &router.path("tests/fixtures/godot/demo"));
    fs::copy(repository.join("config/router.toml"), router.config_path()).unwrap();
    router.set_variable("LISTEN", "127.0.0.1:0");
    router.set_variable("GMR_INSTANCES__SOCKET_DIR", &sockets);
    // `npx` is where Node.js is, and finds what is installed already.
    let bin = peers::node().parent().unwrap().display().to_string();
    let path = std::env::var("PATH").unwrap();
    router.set_variable(
        "PATH",
        &format!("{}:{bin}:{path}", peers::programs().display()),
    );
    let node = peers::node_folder();
    fs::copy(node.join("package.json"), router.path("package.json")).unwrap();
    symlink(node.join("node_modules"), router.path("node_modules")).unwrap();
    router.start_again().await;
    router
}

/// The blocks of a document, each of which has to be asked for.
struct Document {
    name: &'static str,
    blocks: Vec<Block>,
}

impl Document {
    fn read(name: &'static str) -> Self {
        let blocks = blocks::read(&peers::repository().join(name));
        Self { name, blocks }
    }

    /// Takes a block out.
    fn take(&mut self, name: &str) -> String {
        let at = self.blocks.iter().position(|block| block.name == name);
        let at = at.unwrap_or_else(|| panic!("{} has no block run={name}", self.name));
        self.blocks.remove(at).text
    }

    /// One of its blocks of Rust is that file.
    fn shows(&self, file: &Path) {
        let text = fs::read_to_string(file).unwrap();
        let mut shown = self.blocks.iter().filter(|block| block.language == "rust");
        assert!(
            shown.any(|block| block.text == text),
            "{} does not show {} as it is",
            self.name,
            file.display()
        );
    }

    /// Nothing is left but Rust, which the SDK's documentation tests compile.
    fn assert_all_taken(&self) {
        let left: Vec<_> = self
            .blocks
            .iter()
            .filter(|block| block.language != "rust")
            .collect();
        assert!(
            left.is_empty(),
            "{}: blocks that no test runs: {left:#?}",
            self.name
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_that_comes_with_it_runs_and_its_curl_works() {
    let router = newcomer().await;
    let demo = router.ready("demo").await;
    assert_eq!(demo["status"], "healthy", "{demo}");
    let output = fs::read_to_string(router.path("output")).unwrap();
    assert!(
        output.contains(&router.address().to_string()),
        "where it listens is not said:\n{output}"
    );
    assert!(
        output.contains("demo"),
        "what it runs is not said:\n{output}"
    );
    let curl = output
        .lines()
        .find_map(|line| Some(&line[line.find("curl ")?..]));
    let curl = curl.unwrap_or_else(|| panic!("no curl to try:\n{output}"));
    let tried = shell::run(&router, curl, &[]).await.fine();
    assert!(!tried.stdout.is_empty(), "{tried:?}");

    let mut session = router.session("demo").await;
    let project = session.try_call("get_project", &json!({})).await;
    assert!(project.to_string().contains("Lantern Keeper"), "{project}");
    assert_eq!(router.readiness().await["database"], "connected");
    let metrics = "curl -s http://localhost:3002/metrics | grep -E '^mcp_(sessions_open|streams_open|router_loop_lag_seconds_count) '";
    let metrics = shell::run(&router, metrics, &[]).await.fine().stdout;
    assert!(metrics.contains("mcp_sessions_open 1\n"), "{metrics}");
    assert!(metrics.contains("mcp_streams_open 0\n"), "{metrics}");
    let plugins = router.get("/api/plugins").await;
    assert!(plugins.to_string().contains("default-health"), "{plugins}");
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_readme_shows_works() {
    let router = newcomer().await;
    router.ready("demo").await;
    let mut readme = Document::read("README.md");
    let run = async |text: &str, replacements: &[(&str, &str)]| {
        shell::run(&router, text, replacements).await.fine()
    };

    // What the two commands do takes too long here; that they are there and can be followed does not.
    let make = format!(
        "cd {} && {}",
        peers::repository().display(),
        readme.take("make")
    );
    let replacements = [
        ("make run", "make --dry-run run &&"),
        ("make test", "make --dry-run test"),
    ];
    run(&make, &replacements).await;

    let tried = run(&readme.take("try"), &[]).await;
    let answers = tried.json();
    assert_eq!(answers[0]["totalInstances"], 1, "{tried:?}");
    assert_eq!(
        answers[1]["result"]["protocolVersion"], "2025-11-25",
        "{tried:?}"
    );

    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(router.config_path())
        .unwrap();
    file.write_all(readme.take("instance").as_bytes()).unwrap();
    let reloaded = run(&readme.take("reload"), &[]).await;
    assert_eq!(
        reloaded.json()[0]["added"],
        json!(["everything"]),
        "{reloaded:?}"
    );
    let mut session = router.session("everything").await;
    let echoed = session.call("echo", &json!({"message": "hello"})).await;
    assert_eq!(echoed, "Echo: hello");

    let demo = router
        .path("tests/fixtures/godot/demo")
        .display()
        .to_string();
    let registered = run(
        &readme.take("register"),
        &[("/srv/godot/platformer", &demo)],
    )
    .await;
    assert_eq!(registered.json()[0]["versionId"], "41", "{registered:?}");
    let mut session = router.session("41").await;
    let project = session.try_call("get_project", &json!({})).await;
    assert!(project.to_string().contains("Lantern Keeper"), "{project}");
    readme.assert_all_taken();
    router.end().await;
}

/// A build folder whose profiles are the one that `make plugins` builds in: what a policy is made from is there, and is taken from there.
fn build_folder() -> PathBuf {
    let target = peers::programs().parent().unwrap().to_owned();
    let folder = target.join("first-policy");
    let guests = folder.join("wasm32-wasip2");
    fs::create_dir_all(&guests).unwrap();
    for (link, to) in [
        (folder.join("debug"), "../plugin"),
        (folder.join("release"), "../plugin"),
        (guests.join("release"), "../../wasm32-wasip2/plugin"),
    ] {
        match symlink(to, &link) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => panic!("{error}"),
            _ => assert!(link.is_symlink(), "remove {}", link.display()),
        }
    }
    folder
}

/// In a folder that holds the router's own, as the document takes for granted, what an author makes.
async fn build_policy(router: &Router, block: &str) {
    let mut command = Command::new("bash");
    command
        .args(["-e", "-c", block])
        .current_dir(router.home())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        // The component itself is where the document says.
        .env("CARGO_BUILD_BUILD_DIR", build_folder())
        .env_remove("CARGO_TARGET_DIR")
        // Macros as they are for a release, so that they are compiled once for both commands. What the author's own code is built with
        // stays as it is.
        .env("CARGO_PROFILE_DEV_BUILD_OVERRIDE_DEBUG_ASSERTIONS", "false")
        .env("CARGO_PROFILE_DEV_BUILD_OVERRIDE_OVERFLOW_CHECKS", "false")
        // Everything is there, since the bundled policy is made from the same.
        .env("CARGO_NET_OFFLINE", "true");
    let output = tokio::time::timeout(BUILD_WITHIN, command.output()).await;
    let output = output
        .unwrap_or_else(|_| panic!("not built within {BUILD_WITHIN:?}"))
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{stdout}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        stdout.contains("1 passed"),
        "its test did not run: {stdout}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_policy_is_copied_built_and_served() {
    let mut guide = Document::read("docs/plugins.md");
    let file = peers::repository().join("plugins/templates/health-policy/src/lib.rs");
    guide.shows(&file);
    let router = newcomer().await;
    router.ready("demo").await;
    symlink(peers::repository(), router.path("godot-mcp-router")).unwrap();
    let building = guide.take("policy");
    build_policy(&router, &building).await;

    let placed = format!("cd strict-health\n{}", guide.take("policy-placed"));
    let replacements = [("../godot-mcp-router/plugins/dist", "../plugins/dist")];
    let _shown = shell::run(&router, &placed, &replacements).await.fine();
    let plugin = async |what: &str, wanted: &dyn Fn(&serde_json::Value) -> bool| {
        until(what, SOON, async || {
            let shown = router.get("/api/plugins").await;
            let all = shown["plugins"].as_array().unwrap();
            let own = all
                .iter()
                .find(|one| one["name"] == "strict-health" && wanted(one));
            own.map(|_| ())
                .ok_or_else(|| format!("{shown}\n{}", router.tail()))
        })
        .await;
    };
    plugin("the policy to be loaded", &|one| {
        one["generation"].as_u64() > Some(0)
    })
    .await;

    // Its lines take the place of those that the file has.
    let text = fs::read_to_string(router.config_path()).unwrap();
    let (before, policies) = text.split_once("\n[policy]\n").unwrap();
    let (_, after) = policies.split_once("\n[").unwrap();
    let own = format!("{before}\n[{after}");
    let with = |lines: &str| fs::write(router.config_path(), format!("{own}{lines}")).unwrap();
    with(&guide.take("policy-config"));
    router.post("/api/config/reload").await;
    plugin("the policy to judge", &|one| {
        one["calls"].as_u64() > Some(0)
    })
    .await;

    fs::write(
        router.path("plugins/dist/strict-health.toml"),
        guide.take("manifest"),
    )
    .unwrap();
    plugin("what it asks for to be shown", &|one| {
        one["requested"]["secrets"] == json!(["SLACK_WEBHOOK_URL"])
    })
    .await;

    // Plugins of other kinds are made the same way.
    let others = [
        (
            "breaker-policy",
            "learning-breaker",
            "breaker-config",
            "/api/instances/demo",
            ("/breakerPlan/policy", "learning-breaker"),
        ),
        (
            "capacity-policy",
            "memory-capacity",
            "capacity-config",
            "/api/capacity",
            ("/plan/policy", "memory-capacity"),
        ),
        // It refuses to serve without its settings.
        (
            "alert-rule",
            "must-run",
            "alert-config",
            "/api/plugins/must-run",
            ("/state", "serving"),
        ),
        // Which destinations it serves is not configured yet.
        (
            "alert-sink",
            "discord",
            "",
            "/api/plugins/discord",
            ("/state", "serving"),
        ),
    ];
    for (template, name, lines, path, (place, expected)) in others {
        let folder = peers::repository().join("plugins/templates").join(template);
        guide.shows(&folder.join("src/lib.rs"));
        let building = building.replace("health-policy", template);
        build_policy(&router, &building.replace("strict-health", name)).await;
        let placed = placed.replace("strict-health", name);
        let placed = placed.replace("strict_health", &name.replace('-', "_"));
        let _shown = shell::run(&router, &placed, &replacements).await.fine();
        if !lines.is_empty() {
            with(&guide.take(lines));
        }
        router.post("/api/config/reload").await;
        until(&format!("{name} to serve"), SOON, async || {
            let shown = router.get(path).await;
            if shown.pointer(place).is_some_and(|is| is == expected) {
                Ok(())
            } else {
                Err(format!("{shown}\n{}", router.tail()))
            }
        })
        .await;
    }
    guide.assert_all_taken();
    router.end().await;
}
