//! Errors of `/api` as `application/problem+json` (RFC 9457): a short title per status, and a detail with the remedy.

use std::time::Duration;

use axum::{
    Json,
    extract::{
        FromRequestParts,
        rejection::{JsonRejection, QueryRejection},
    },
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::OperationError;

/// An error as it is answered.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    faults: Vec<String>,
    retry_after_s: Option<u64>,
}

impl Problem {
    /// A problem with this status and detail.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            faults: Vec::new(),
            retry_after_s: None,
        }
    }

    /// 404.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 400.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// With when to try again.
    pub(crate) fn retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after_s: Some(wait.as_secs().max(1)),
            ..self
        }
    }

    /// How it is answered.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    fn body(&self) -> Value {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let mut body = json!({
            "type": "about:blank",
            "title": title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if !self.faults.is_empty() {
            body["faults"] = json!(self.faults);
        }
        body
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<OperationError> for Problem {
    fn from(error: OperationError) -> Self {
        let detail = error.to_string();
        match error {
            OperationError::NotFound(_) => Self::not_found(detail),
            OperationError::Forbidden(_) => Self::new(StatusCode::FORBIDDEN, detail),
            OperationError::Conflict(_) => Self::new(StatusCode::CONFLICT, detail),
            OperationError::Invalid(faults) => {
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                let count = faults.len();
                let noun = if count == 1 { "fault" } else { "faults" };
                Self {
                    faults,
                    ..Self::new(status, format!("{count} {noun}; nothing was changed"))
                }
            }
            OperationError::Unavailable { retry_after, .. } => Self {
                retry_after_s: retry_after.map(|wait| wait.as_secs().max(1)),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            },
            OperationError::Failed(_) => Self::new(StatusCode::BAD_GATEWAY, detail),
            OperationError::UnderWay(_) => Self::new(StatusCode::GATEWAY_TIMEOUT, detail),
        }
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

/// The named parts of a path. What cannot be read is a problem like any other.
pub(crate) struct Path<T>(pub(crate) T);

impl<S, T> FromRequestParts<S> for Path<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Send,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = axum::extract::Path::from_request_parts(parts, state).await;
        read.map(|axum::extract::Path(names)| Self(names))
            .map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))
    }
}
