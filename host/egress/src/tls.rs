//! TLS with rustls: the machine's certificate authorities, or in their place those of the sink's `ca_file`.

use std::{path::Path, sync::Arc};

use router_values::Host;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio_rustls::TlsConnector;

use crate::{message::EgressError, metered::Stream, options::InvalidEgress};

/// See the module.
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    /// Whether there is any certificate authority.
    has_roots: bool,
}

impl Tls {
    /// Reads the certificate authorities; blocks for as long as that takes.
    pub(crate) fn open(ca_file: Option<&Path>) -> Result<Self, InvalidEgress> {
        let mut roots = RootCertStore::empty();
        match ca_file {
            Some(path) => add_file(&mut roots, path)?,
            // What cannot be read of the machine's is missed when a certificate is checked, and said then.
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let has_roots = !roots.is_empty();
        // By name: a build with another provider in it would have no default.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(InvalidEgress::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            has_roots,
        })
    }

    /// Encrypts a connection, to whom it is meant for.
    pub(crate) async fn connect(&self, host: &Host, stream: Stream) -> Result<Stream, EgressError> {
        if !self.has_roots {
            return Err(EgressError::Failed(
                "this machine has no certificate authorities: install ca-certificates, or set the sink's ca_file".to_owned(),
            ));
        }
        let name = match host {
            Host::Ip(address) => ServerName::from(*address),
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| {
                EgressError::Invalid(format!("no certificate can be for the name {name}"))
            })?,
        };
        let connector = TlsConnector::from(Arc::clone(&self.config));
        match connector.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(EgressError::Failed(format!(
                "no encrypted connection to {host}: {error}"
            ))),
        }
    }
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), InvalidEgress> {
    let fault = |reason: String| InvalidEgress::CaFile {
        path: path.to_owned(),
        reason,
    };
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| fault(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| fault(error.to_string()))?;
        let added = roots.add(certificate);
        added.map_err(|error| fault(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(fault("it holds no certificate (PEM)".to_owned()));
    }
    Ok(())
}
