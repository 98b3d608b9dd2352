//! Requests to the driver, each with a bound on how long its answer is waited for.

use std::{sync::Arc, time::Duration};

use router_admin::{OperationError, Result};
use router_core::{
    InstanceId,
    capacity::Usage,
    event::Verb,
    settings::Settings,
    spec::{InstanceSpec, Source},
    view::{FleetView, InstanceView},
};
use tokio::sync::{mpsc, oneshot};

use crate::driver::{CommandResult, DriverRequest};

/// The driver answers between two events: one that takes this long is stuck.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How long the driver may take to apply definitions: thousands of them are one step of the core.
const APPLY_WITHIN: Duration = Duration::from_secs(10);

/// How long a command may hold its caller: a stop drains, terminates and kills within this with the default waits.
const COMMAND_WITHIN: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Clone)]
pub(crate) struct DriverHandle(mpsc::Sender<DriverRequest>);

impl DriverHandle {
    /// A handle on the driver that reads the other end.
    pub(crate) fn new(requests: mpsc::Sender<DriverRequest>) -> Self {
        Self(requests)
    }

    /// The fleet as it is.
    pub(crate) async fn view(&self) -> Result<Arc<FleetView>> {
        self.request(ANSWER_WITHIN, DriverRequest::View).await
    }

    /// One instance as it is, where there is one.
    pub(crate) async fn instance(&self, instance: InstanceId) -> Result<Option<InstanceView>> {
        let ask = |reply| DriverRequest::Instance { instance, reply };
        self.request(ANSWER_WITHIN, ask).await
    }

    /// What the fleet uses at this moment.
    pub(crate) async fn usage(&self) -> Result<Usage> {
        self.request(ANSWER_WITHIN, DriverRequest::Usage).await
    }

    /// Does something to an instance, and waits until it is done.
    pub(crate) async fn command(&self, instance: InstanceId, verb: Verb) -> Result<CommandResult> {
        let command = |reply| DriverRequest::Command {
            instance,
            verb,
            reply,
        };
        self.request(COMMAND_WITHIN, command).await
    }

    /// Applies settings, all instances of the file, and all registered ones.
    pub(crate) async fn apply(
        &self,
        settings: Settings,
        file: Vec<InstanceSpec>,
        registered: Vec<InstanceSpec>,
    ) -> Result<()> {
        let apply = |done| DriverRequest::Apply {
            settings: Box::new(settings),
            file,
            registered,
            done,
        };
        self.request(APPLY_WITHIN, apply).await
    }

    /// Applies all registered instances.
    pub(crate) async fn restore(&self, registered: Vec<InstanceSpec>) -> Result<()> {
        let restore = |done| DriverRequest::Restore { registered, done };
        self.request(APPLY_WITHIN, restore).await
    }

    /// Which source defines an id, unless it is free, and how many instances there are.
    pub(crate) async fn holder(&self, instance: InstanceId) -> Result<(Option<Source>, usize)> {
        let holder = |reply| DriverRequest::Holder { instance, reply };
        self.request(APPLY_WITHIN, holder).await
    }

    /// Adds one instance.
    pub(crate) async fn add(&self, spec: InstanceSpec) -> Result<()> {
        let spec = Box::new(spec);
        self.request(APPLY_WITHIN, |done| DriverRequest::Add { spec, done })
            .await
    }

    /// Removes one instance.
    pub(crate) async fn remove(&self, instance: InstanceId) -> Result<()> {
        let remove = |done| DriverRequest::Remove { instance, done };
        self.request(APPLY_WITHIN, remove).await
    }

    /// Begins the shutdown. Returns how long it may take.
    pub(crate) async fn shut_down(&self) -> Result<Duration> {
        self.request(ANSWER_WITHIN, DriverRequest::Shutdown).await
    }

    async fn request<T>(
        &self,
        within: Duration,
        request: impl FnOnce(oneshot::Sender<T>) -> DriverRequest,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let ended = || OperationError::Unavailable {
            reason: "the router is shutting down".to_owned(),
            retry_after: None,
        };
        let exchange = async {
            self.0.send(request(reply)).await.map_err(|_| ended())?;
            answer.await.map_err(|_| ended())
        };
        match tokio::time::timeout(within, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(OperationError::UnderWay(format!(
                "it was not done within {} s; it goes on, and GET /api/health/mcp shows when it is done",
                within.as_secs()
            ))),
        }
    }
}
