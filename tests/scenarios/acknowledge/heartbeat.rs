//! The outbound heartbeat of a whole router.

use std::{sync::Arc, time::Duration};

use router_tests::{
    Config, Router, peers,
    receivers::{Authority, Received, Receiver, Reply, Service},
};

/// Takes every call.
struct Waiting;

impl Service for Waiting {
    fn reply(&self, _: &Received) -> Reply {
        Reply::text(200, "OK")
    }
}

/// Audits are a minute apart: this waits for two of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_heartbeat_is_withheld_while_the_auditor_finds_something() {
    const PATH: &str = "/ping/5a1c-a-secret";
    let authority = Authority::new();
    let mut service = Receiver::start(&authority, Arc::new(Waiting)).await;
    let config = Config::new().server(peers::echo());
    let config = config.set("alerts", "rules = [\"default-alerts\"]");
    let url = format!("{}{PATH}", service.url());
    let variables = [("SSL_CERT_FILE", authority.ca_file())];
    let variables = variables.map(|(name, path)| (name, path.display().to_string()));
    let variables = variables
        .each_ref()
        .map(|(name, path)| (*name, path.as_str()));
    let mut router = Router::prepared(&config, &variables);
    std::fs::write(router.path("heartbeat-url"), url).unwrap();
    router.write_config(&config.set("alerts", "heartbeat_url_file = \"heartbeat-url\""));
    router.start_again().await;

    // Its only rule is missing: nothing is noticed, and the service that waits is not called.
    let two_minutes = Duration::from_secs(150);
    router
        .logged(&["ERROR", "heartbeat withheld"], two_minutes)
        .await;
    assert!(service.is_quiet());
    let plugin = peers::bundled_plugin("default-alerts.wasm");
    std::fs::copy(plugin, router.path("plugins/default-alerts.wasm")).unwrap();
    router.logged(&["heartbeat delivered"], two_minutes).await;
    let call = service.next().await;
    assert_eq!((call.method.as_str(), call.path.as_str()), ("GET", PATH));
    assert_eq!(call.body, "");
    let metrics = router.get("/metrics").await;
    let metrics = metrics.as_str().unwrap();
    assert!(
        metrics.contains("mcp_alert_heartbeats_total{result=\"delivered\"} 1"),
        "{metrics}"
    );
    assert!(!router.log().contains("a-secret"), "{}", router.log());
    router.end().await;
}
