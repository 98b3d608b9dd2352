//! How alerts are opened, and how a changed configuration reaches them.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use router_alerts::delivery::ScheduleLimits;
use router_config::Config;
use router_delivery::{AlertJournal, CourierSettings, JournalContents, JournalState};
use router_store::{DatabaseState, Store};
use router_supervisor::DataDir;
use router_values::SessionKey;
use tokio::sync::{mpsc, watch};

use super::{
    facts::FactSources,
    handle::AlertsHandle,
    heartbeat::{AuditResult, Heartbeat, HeartbeatUrl},
    projection::DatabaseEnd,
    room::{AlertRoom, RoomParts},
    rules::RuleAsker,
    sinks::SinkCaller,
    writer::DatabaseWriter,
};
use crate::{
    announcer::Announcer,
    meters::RouterMeters,
    wiring::{alerts, links::AckLinks},
};

/// Answers of rules that may wait for the loop: each has at most a thousand conditions.
const ANSWERS_MAX: usize = 32;

/// Where the journal is, in the data directory.
const JOURNAL: &str = "alerts";

/// How long a start without a journal waits for the database: no alert is to wait longer for it than for the journal.
const FLOOR_WITHIN: Duration = Duration::from_secs(2);

/// What is run, and what is held.
pub(crate) struct OpenAlerts {
    pub(crate) room: AlertRoom,
    pub(crate) asker: RuleAsker,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) writer: DatabaseWriter,
    pub(crate) handle: AlertsHandle,
    pub(crate) settings: AlertConfigurator,
    pub(crate) links: Arc<AckLinks>,
    /// How the journal is.
    pub(crate) journal: watch::Receiver<JournalState>,
}

/// Applies configurations to the loop, the asker and the sinks.
pub(crate) struct AlertConfigurator {
    handle: AlertsHandle,
    rules: Mutex<watch::Sender<Arc<[Arc<str>]>>>,
    sinks: Arc<SinkCaller>,
    meters: Arc<RouterMeters>,
    heartbeat_url: watch::Sender<Option<HeartbeatUrl>>,
}

impl AlertConfigurator {
    /// Applies a configuration.
    ///
    /// # Errors
    /// Fallbacks lead nowhere, which the configuration refuses.
    pub(crate) async fn apply(&self, config: &Config) -> anyhow::Result<()> {
        let table = alerts::table(config)?;
        let (runbook_url, public_url) = alerts::link_bases(config);
        self.sinks.set_links(runbook_url, public_url);
        set_names(&self.meters, config);
        self.handle
            .configure(config.alerts.settings.clone(), table)
            .await;
        self.heartbeat_url
            .send_replace(alerts::heartbeat_url(config));
        let rules = alerts::rules(config);
        self.rules.lock().send_if_modified(|before| {
            let differs = *before != rules;
            *before = rules;
            differs
        });
        Ok(())
    }
}

/// The rules and sinks that metrics have series of.
fn set_names(meters: &RouterMeters, config: &Config) {
    let rules = config.alerts.settings.rules.iter();
    let sinks = config.sinks.keys();
    let alerts = meters.metrics.alerts();
    alerts.set_names(rules.map(|rule| &**rule), sinks.map(|sink| sink.as_str()));
}

/// Opens alerts where the journal ends.
///
/// # Errors
/// No thread could be started; or fallbacks lead nowhere, which the configuration refuses.
pub(crate) async fn open(
    config: &Config,
    data_dir: &DataDir,
    sources: FactSources,
    announcer: &Arc<Announcer>,
    session_key: &SessionKey,
) -> anyhow::Result<OpenAlerts> {
    let (journal, kept) = AlertJournal::open(data_dir.path().join(JOURNAL))?;
    let store = sources.store.clone();
    let floor = floor(&kept, &store).await;
    let (batches, to_bring) = mpsc::channel(1);
    let (say_brought, brought) = mpsc::channel(1);
    let journal_state = journal.state();
    let (runbook_url, public_url) = alerts::link_bases(config);
    let links = Arc::new(AckLinks::new(session_key, public_url));
    let meters = Arc::clone(&sources.meters);
    set_names(&meters, config);
    let sinks = SinkCaller::new(
        sources.engine.clone(),
        runbook_url,
        Arc::clone(&links),
        Arc::clone(&meters),
    );
    let (answers, from_rules) = mpsc::channel(ANSWERS_MAX);
    let (sink_states, seen) = watch::channel(Vec::new());
    let (audits, heard) = watch::channel(AuditResult::default());
    let (heartbeat_url, called) = watch::channel(alerts::heartbeat_url(config));
    let (rules, in_force) = watch::channel(alerts::rules(config));
    let (handle, inbox) = AlertsHandle::new(journal.state());
    // What a new version breaks shows soon after.
    handle.changed(concat!(
        "router started, version ",
        env!("CARGO_PKG_VERSION")
    ));
    let parts = RoomParts {
        settings: config.alerts.settings.clone(),
        courier: CourierSettings {
            sinks: alerts::table(config)?,
            limits: ScheduleLimits::default(),
            seed: rand::random(),
        },
        journal,
        kept,
        sinks: Arc::clone(&sinks),
        inbox,
        answers: from_rules,
        sink_states,
        audits,
        announcer: Arc::clone(announcer),
        meters: Arc::clone(&meters),
        database: DatabaseEnd {
            batches,
            brought,
            store: store.clone(),
        },
        epoch: data_dir.epoch(),
        floor,
    };
    let room = AlertRoom::new(parts).await;
    let counts = Arc::clone(&meters);
    let heartbeat = Heartbeat {
        audits: heard,
        url: called,
        count: Box::new(move |what| counts.metrics.count(what)),
    };
    let asker = RuleAsker {
        sources,
        rules: in_force,
        sinks: seen,
        changes: announcer.changes(),
        answers,
    };
    let writer = DatabaseWriter {
        store,
        batches: to_bring,
        brought: say_brought,
    };
    let settings = AlertConfigurator {
        handle: handle.clone(),
        rules: Mutex::new(rules),
        sinks,
        meters,
        heartbeat_url,
    };
    Ok(OpenAlerts {
        room,
        asker,
        heartbeat,
        writer,
        handle,
        settings,
        links,
        journal: journal_state,
    })
}

/// Where the journal is empty, because this is the first start or the data directory was lost, the database says from which number on
/// firings go: under one that was used before, receivers may drop what they are sent.
async fn floor(kept: &JournalContents, store: &Store) -> u32 {
    if !kept.rows.is_empty() {
        return 0;
    }
    let mut state = store.state();
    let read = async {
        // What the store says of itself ends with the store alone.
        let _ = state.wait_for(DatabaseState::is_connected).await;
        store.alerts_firing_max().await
    };
    let read = tokio::time::timeout(FLOOR_WITHIN, read).await;
    match read {
        Ok(Ok(firing)) => u32::try_from(firing).unwrap_or(u32::MAX),
        Ok(Err(error)) => {
            tracing::warn!(error = %error, "numbers of firings not read from the database");
            0
        }
        Err(_) => {
            tracing::warn!("numbers of firings not read from the database: it does not answer");
            0
        }
    }
}
