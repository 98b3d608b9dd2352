//! What an operator configures for one sink.

use std::{collections::BTreeMap, path::PathBuf, sync::LazyLock, time::UNIX_EPOCH};

use rand::RngExt as _;
use router_values::{Origin, Proxy, Secret};
use sha2::{Digest as _, Sha256};

/// Most secrets of one sink, and the longest of them in bytes: a key of RSA with 8,192 bits fits.
pub(crate) const SECRETS_MAX: usize = 16;
pub(crate) const SECRET_BYTES_MAX: usize = 8 * 1024;

/// What one sink may reach, and with which secrets: of its `[sink.NAME]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EgressOptions {
    /// `allow`: where it may send, and its secrets may go. Nowhere else.
    pub allow: Vec<Origin>,
    /// `secrets`, by the names that the plugin knows them by.
    pub secrets: BTreeMap<String, Secret>,
    /// `ca_file`: the certificate authorities (PEM) to trust in place of those of the machine.
    pub ca_file: Option<PathBuf>,
    /// `proxy`: what everything is sent through.
    pub proxy: Option<Proxy>,
}

/// What fingerprints are made with, so that nobody who sees one can try secrets against it.
static SALT: LazyLock<[u8; 32]> = LazyLock::new(|| rand::rng().random());

impl EgressOptions {
    /// A text that is another one when any of it is, the secrets and the certificates in `ca_file` included; within this process only.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let Self {
            allow,
            secrets,
            ca_file,
            proxy,
        } = self;
        let mut parts = vec![format!("{allow:?} {ca_file:?} {proxy:?}")];
        let proxy = proxy.as_ref().and_then(Proxy::credentials);
        let secrets = secrets.iter().map(|(name, secret)| (name.as_str(), secret));
        for (name, secret) in secrets.chain(proxy.map(|secret| ("", secret))) {
            parts.extend([name.to_owned(), secret.expose().to_owned()]);
        }
        if let Some(written) = ca_file.as_ref().and_then(|path| path.metadata().ok()) {
            let at = written.modified().ok();
            let at = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            parts.push(format!("{} {at:?}", written.len()));
        }
        let mut hash = Sha256::new();
        hash.update(*SALT);
        for part in &parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let digits = hash.finalize();
        digits.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Why a sink cannot send as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEgress {
    /// A secret without a value, which would stand for itself everywhere.
    #[error("the secret {0} is empty")]
    EmptySecret(String),
    /// A secret that is none.
    #[error("the secret {0} has more than {SECRET_BYTES_MAX} bytes")]
    LongSecret(String),
    /// Too many of them.
    #[error("it has {0} secrets, and may have {SECRETS_MAX}")]
    ManySecrets(usize),
    /// The certificate authorities could not be read.
    #[error("ca_file {path} cannot be read: {reason}")]
    CaFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// TLS refused its configuration.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

#[cfg(test)]
mod tests {
    use std::fs;

    use router_values::{Origin, Proxy, Secret};

    use super::EgressOptions;

    #[test]
    fn a_fingerprint_is_another_one_when_anything_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let before = EgressOptions::default();
        let edits: [fn(&mut EgressOptions); 5] = [
            |one| one.allow = vec![Origin::parse_http("https://a.example").unwrap()],
            |one| drop(one.secrets.insert("a".to_owned(), Secret::new("b"))),
            |one| drop(one.secrets.insert("a".to_owned(), Secret::new("c"))),
            |one| one.proxy = Some(Proxy::parse("http://a:b@proxy").unwrap()),
            |one| one.proxy = Some(Proxy::parse("http://a:c@proxy").unwrap()),
        ];
        let mut seen = vec![before.fingerprint()];
        for edit in edits {
            let mut edited = before.clone();
            edit(&mut edited);
            assert_eq!(edited.fingerprint(), edited.clone().fingerprint());
            assert!(!seen.contains(&edited.fingerprint()));
            seen.push(edited.fingerprint());
        }
        let with_file = EgressOptions {
            ca_file: Some(path.clone()),
            ..before
        };
        let missing = with_file.fingerprint();
        fs::write(path, "x").unwrap();
        assert_ne!(with_file.fingerprint(), missing);
    }
}
