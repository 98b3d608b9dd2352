//! Debian's Alertmanager itself: on a free port of this machine, in a folder of its own, without a cluster. What it notifies of goes to a
//! receiver of the test's own.

use std::{net::SocketAddr, path::Path, process::Stdio, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use super::{Authority, Received, Receiver, Reply, Service};
use crate::peers;

/// A start of a program of Go takes a moment.
const START_WITHIN: Duration = Duration::from_secs(30);

/// See the module. It ends with this.
pub struct Alertmanager {
    address: SocketAddr,
    http: reqwest::Client,
    _child: Child,
    _folder: tempfile::TempDir,
    notified: Arc<Notified>,
    _receiver: Receiver,
}

/// What it notified its receiver of.
#[derive(Default)]
struct Notified(Mutex<Vec<Value>>);

impl Service for Notified {
    fn reply(&self, request: &Received) -> Reply {
        self.0.lock().push(request.json());
        Reply::text(200, "")
    }
}

impl Alertmanager {
    /// Starts one.
    pub async fn start(authority: &Authority) -> Self {
        let notified = Arc::<Notified>::default();
        let receiver = Receiver::start(authority, Arc::clone(&notified)).await;
        let folder = tempfile::tempdir().unwrap();
        let config = config(&receiver.url(), &authority.ca_file());
        std::fs::write(folder.path().join("config.yml"), config).unwrap();
        let mut child = Command::new(peers::alertmanager())
            .args([
                "--config.file=config.yml",
                "--storage.path=storage",
                "--web.listen-address=127.0.0.1:0",
                "--cluster.listen-address=",
            ])
            .current_dir(folder.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                // `msg="Listening on" address=127.0.0.1:40001`
                if let Some((_, address)) = line.split_once("msg=\"Listening on\" address=") {
                    return address.trim().parse().unwrap();
                }
            }
            panic!("Alertmanager ended");
        };
        let address = tokio::time::timeout(START_WITHIN, address).await;
        let address = address.expect("Alertmanager listens in time");
        // What else it says is read, so that it never waits for somebody to.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            address,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            _child: child,
            _folder: folder,
            notified,
            _receiver: receiver,
        }
    }

    /// Its origin.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The alerts that are not over, with these labels and whatever others.
    pub async fn alerts(&self, labels: &[(&str, &str)]) -> Vec<Value> {
        let url = format!("{}/api/v2/alerts", self.url());
        let answer = self.http.get(url).send().await.unwrap();
        let all: Vec<Value> = answer.json().await.unwrap();
        let has = |one: &Value| {
            let mut labels = labels.iter();
            labels.all(|(name, value)| one["labels"][name] == *value)
        };
        all.into_iter().filter(has).collect()
    }

    /// Silences the alerts with this label.
    pub async fn silence(&self, label: &str, value: &str, (from, to): (&str, &str)) {
        let silence = serde_json::json!({
            "matchers": [{ "name": label, "value": value, "isRegex": false, "isEqual": true }],
            "startsAt": from, "endsAt": to, "createdBy": "ann", "comment": "known",
        });
        let url = format!("{}/api/v2/silences", self.url());
        let answer = self.http.post(url).json(&silence).send().await.unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{status}: {:?}", answer.text().await);
    }

    /// What its receiver got about alerts of this name, in order: `firing` or `resolved`, each with the severity.
    #[must_use]
    pub fn notified(&self, alertname: &str) -> Vec<(String, String)> {
        let all = self.notified.0.lock();
        let alerts = all
            .iter()
            .flat_map(|one| one["alerts"].as_array().into_iter().flatten());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        alerts
            .filter(|alert| alert["labels"]["alertname"] == alertname)
            .map(|alert| (text(&alert["status"]), text(&alert["labels"]["severity"])))
            .collect()
    }
}

/// One receiver, which hears of each alert at once.
fn config(receiver: &str, ca_file: &Path) -> String {
    format!(
        "route:\n  receiver: test\n  group_by: ['...']\n  group_wait: 0s\n  group_interval: 1s\n  repeat_interval: 1h\n\
         receivers:\n- name: test\n  webhook_configs:\n  - url: {receiver}/hook\n    send_resolved: true\n\
         \x20   http_config:\n      tls_config:\n        ca_file: {}\n",
        ca_file.display()
    )
}
