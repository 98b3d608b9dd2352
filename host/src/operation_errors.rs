//! Errors of the rooms as an operator sees them.

use std::time::Duration;

use router_access::OpenWithoutToken;
use router_admin::OperationError;
use router_config::Faults;
use router_core::{InstanceId, action::CommandError};
use router_engine::DecisionError;
use router_store::StoreError;

use crate::error_chain::chain;

/// When to try again what a lost database or a full queue refused: both recover in seconds.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// There is no such instance.
pub(crate) fn unknown(instance: &InstanceId) -> OperationError {
    OperationError::NotFound(format!(
        "there is no instance {instance}; GET /api/instances lists those there are"
    ))
}

/// The core refused a command.
pub(crate) fn of_command(instance: &InstanceId, error: &CommandError) -> OperationError {
    match error {
        CommandError::UnknownInstance => unknown(instance),
        CommandError::Superseded | CommandError::Removed => {
            OperationError::Conflict(error.to_string())
        }
        CommandError::ShuttingDown | CommandError::Busy => OperationError::Unavailable {
            reason: error.to_string(),
            retry_after: Some(RETRY_AFTER),
        },
        CommandError::StartFailed(_) => OperationError::Failed(error.to_string()),
    }
}

/// A decision about a generation was not carried out.
pub(crate) fn of_decision(error: &DecisionError) -> OperationError {
    let reason = error.to_string();
    match error {
        DecisionError::NoPlugin(_) => OperationError::NotFound(reason),
        DecisionError::NothingToDecide(_) => OperationError::Conflict(reason),
        DecisionError::NotWritten(_) => OperationError::Failed(reason),
    }
}

/// The store failed.
pub(crate) fn of_store(error: StoreError) -> OperationError {
    match error {
        StoreError::Invalid(reason) => OperationError::Invalid(vec![reason]),
        StoreError::AlreadyRegistered(_) => OperationError::Conflict(error.to_string()),
        StoreError::Disconnected { .. }
        | StoreError::Exhausted { .. }
        | StoreError::TimedOut { .. }
        | StoreError::Closed => OperationError::Unavailable {
            reason: error.to_string(),
            retry_after: Some(RETRY_AFTER),
        },
        other => OperationError::Failed(chain(&other)),
    }
}

/// A definition or a file is faulty: each fault with its place.
pub(crate) fn of_faults(faults: Faults) -> OperationError {
    let each = faults.faults.into_iter().map(|fault| {
        let one = Faults {
            file: faults.file.clone(),
            faults: vec![fault],
        };
        one.to_string()
    });
    OperationError::Invalid(each.collect())
}

/// Rules of access cannot be enforced.
pub(crate) fn of_access(errors: &[OpenWithoutToken]) -> OperationError {
    OperationError::Invalid(errors.iter().map(ToString::to_string).collect())
}
