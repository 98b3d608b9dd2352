//! `egress` of `wit/`, as the guest calls it.

use router_egress::{
    Algorithm, EgressCall, EgressError, EgressRequest, EgressResponse, SecretError,
};

use super::wit_egress as wit;
use crate::guest::GuestState;

impl wit::Host for GuestState {
    async fn send(
        &mut self,
        request: wit::Request,
    ) -> wasmtime::Result<Result<wit::Response, wit::EgressError>> {
        self.called()?;
        let request = EgressRequest {
            method: request.method,
            url: request.url,
            headers: request.headers,
            body: request.body,
        };
        let answer = match &mut self.sending {
            Some(sending) => sending.send(request).await,
            None => Err(EgressError::Invalid("this is no sink".to_owned())),
        };
        Ok(answer.map(response).map_err(egress_error))
    }

    fn placeholder(
        &mut self,
        secret: String,
    ) -> wasmtime::Result<Result<String, wit::SecretError>> {
        self.called()?;
        Ok(self.egress_call(|call| call.placeholder(&secret)))
    }

    fn sign(
        &mut self,
        secret: String,
        algorithm: wit::Algorithm,
        bytes: Vec<u8>,
    ) -> wasmtime::Result<Result<Vec<u8>, wit::SecretError>> {
        self.called()?;
        let algorithm = match algorithm {
            wit::Algorithm::HmacSha256 => Algorithm::HmacSha256,
            wit::Algorithm::Ed25519 => Algorithm::Ed25519,
            wit::Algorithm::Other(_) => {
                let reason = "this router does not sign so".to_owned();
                return Ok(Err(wit::SecretError::Other(reason)));
            }
        };
        Ok(self.egress_call(|call| call.sign(&secret, algorithm, &bytes)))
    }
}

impl GuestState {
    /// Uses a secret of the delivery in progress.
    fn egress_call<T>(
        &mut self,
        ask: impl FnOnce(&mut EgressCall) -> Result<T, SecretError>,
    ) -> Result<T, wit::SecretError> {
        let call = self.sending.as_mut().and_then(|sending| sending.call());
        let Some(call) = call else {
            let reason = "secrets are used in deliveries only".to_owned();
            return Err(wit::SecretError::Other(reason));
        };
        ask(call).map_err(|error| match error {
            SecretError::Unknown => wit::SecretError::Unknown,
            SecretError::Unsuitable(reason) => wit::SecretError::Unsuitable(reason.to_owned()),
        })
    }
}

fn response(response: EgressResponse) -> wit::Response {
    wit::Response {
        status: response.status,
        headers: response.headers,
        body: response.body,
    }
}

fn egress_error(error: EgressError) -> wit::EgressError {
    match error {
        EgressError::Denied(reason) => wit::EgressError::Denied(reason),
        EgressError::MisplacedSecret(reason) => wit::EgressError::MisplacedSecret(reason),
        EgressError::TimedOut => wit::EgressError::TimedOut,
        EgressError::Failed(reason) => wit::EgressError::Failed(reason),
        EgressError::Invalid(reason) => wit::EgressError::Other(reason),
    }
}
