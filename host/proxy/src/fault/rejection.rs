//! A request that the breaker did not admit. Its text is read by a model: after the sentence that operators search for it says what
//! happened, since when, that nothing was sent, and who answers instead.

use std::{fmt, sync::Arc};

use router_core::{InstanceId, action::BreakerCause, permit::Rejected};

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct BreakerRejection {
    pub(crate) rejected: Rejected,
    /// Why, where that is known.
    pub(crate) cause: Option<Arc<BreakerCause>>,
    pub(crate) now_ms: u64,
    pub(crate) rejecting: Rejecting,
}

/// Whose breaker it was.
#[derive(Debug, Clone)]
pub(crate) enum Rejecting {
    Instance {
        /// Others that answer; not necessarily all of them.
        answering: Vec<InstanceId>,
    },
    /// Of this tool alone.
    Tool(Arc<str>),
}

impl BreakerRejection {
    fn since_ms(&self, cause: &BreakerCause) -> u64 {
        self.now_ms.saturating_sub(cause.since_ms)
    }

    /// The text, about this instance.
    pub(crate) fn describe(&self, f: &mut fmt::Formatter<'_>, instance: &str) -> fmt::Result {
        write!(f, "{}.", self.rejected)?;
        if let Some(cause) = &self.cause {
            let (seconds, reason) = (self.since_ms(cause) / 1_000, &cause.reason);
            match &self.rejecting {
                Rejecting::Instance { .. } => write!(f, " Instance {instance}")?,
                Rejecting::Tool(tool) => write!(f, " Tool {tool} of instance {instance}")?,
            }
            write!(
                f,
                ": {reason}; its breaker has not been CLOSED for {seconds} s."
            )?;
        }
        f.write_str(" This request was not sent.")?;
        match &self.rejecting {
            Rejecting::Tool(_) => f.write_str(" The other tools of the instance are admitted."),
            Rejecting::Instance { answering } if answering.is_empty() => Ok(()),
            Rejecting::Instance { answering } => {
                let names: Vec<&str> = answering.iter().map(InstanceId::as_str).collect();
                write!(f, " Other instances answer: {}.", names.join(", "))
            }
        }
    }

    /// Adds the same to the error's data.
    pub(crate) fn add_to(&self, data: &mut serde_json::Value) {
        data["state"] = self.rejected.state.as_str().into();
        if let Some(cause) = &self.cause {
            data["reason"] = (*cause.reason).into();
            data["sinceMs"] = self.since_ms(cause).into();
        }
        match &self.rejecting {
            Rejecting::Tool(tool) => data["tool"] = (**tool).into(),
            Rejecting::Instance { answering } => {
                data["answering"] = answering.iter().map(InstanceId::as_str).collect();
            }
        }
    }
}
