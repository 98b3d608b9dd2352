//! What can be requested of the driver.

use std::{sync::Arc, time::Duration};

use router_core::{
    InstanceId,
    action::{CommandError, Done},
    capacity::Usage,
    event::Verb,
    settings::Settings,
    spec::{InstanceSpec, Source},
    view::{FleetView, InstanceView},
};
use tokio::sync::oneshot;

/// How a command ended.
pub(crate) type CommandResult = Result<Done, CommandError>;

/// A question or an order. Each is answered, unless the driver ends first.
pub(crate) enum DriverRequest {
    /// The fleet as it is.
    View(oneshot::Sender<Arc<FleetView>>),
    /// One instance as it is.
    Instance {
        instance: InstanceId,
        reply: oneshot::Sender<Option<InstanceView>>,
    },
    /// What the fleet uses at this moment.
    Usage(oneshot::Sender<Usage>),
    /// Do something to an instance.
    Command {
        instance: InstanceId,
        verb: Verb,
        reply: oneshot::Sender<CommandResult>,
    },
    /// The configuration is new: settings, all instances of the file, and all that were registered.
    Apply {
        settings: Box<Settings>,
        file: Vec<InstanceSpec>,
        registered: Vec<InstanceSpec>,
        done: oneshot::Sender<()>,
    },
    /// All registered instances, as they were kept.
    Restore {
        registered: Vec<InstanceSpec>,
        done: oneshot::Sender<()>,
    },
    /// Which source an id belongs to, unless it is free, and how many instances there are.
    Holder {
        instance: InstanceId,
        reply: oneshot::Sender<(Option<Source>, usize)>,
    },
    /// One instance more.
    Add {
        spec: Box<InstanceSpec>,
        done: oneshot::Sender<()>,
    },
    /// One instance less.
    Remove {
        instance: InstanceId,
        done: oneshot::Sender<()>,
    },
    /// The router is to end. Answered with how long that may take at most.
    Shutdown(oneshot::Sender<Duration>),
}
