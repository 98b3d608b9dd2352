//! The secrets of one sink.

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use router_values::Secret;

use crate::{
    options::{InvalidEgress, SECRET_BYTES_MAX, SECRETS_MAX},
    target::Target,
};

/// See the module.
pub(crate) struct Secrets(BTreeMap<String, HeldSecret>);

/// One of them.
pub(crate) struct HeldSecret {
    value: Secret,
    /// What it asks of an origin, where it is an address.
    pub(crate) address: Option<Target>,
    uses: AtomicU64,
}

impl Secrets {
    pub(crate) fn new(secrets: BTreeMap<String, Secret>) -> Result<Self, InvalidEgress> {
        if secrets.len() > SECRETS_MAX {
            return Err(InvalidEgress::ManySecrets(secrets.len()));
        }
        let held = secrets.into_iter().map(|(name, value)| {
            match value.expose().len() {
                0 => return Err(InvalidEgress::EmptySecret(name)),
                bytes if bytes > SECRET_BYTES_MAX => return Err(InvalidEgress::LongSecret(name)),
                _ => {}
            }
            let held = HeldSecret {
                address: Target::parse(value.expose()).ok(),
                value,
                uses: AtomicU64::new(0),
            };
            Ok((name, held))
        });
        Ok(Self(held.collect::<Result<_, _>>()?))
    }

    pub(crate) fn get(&self, name: &str) -> Option<(&str, &HeldSecret)> {
        let (name, secret) = self.0.get_key_value(name)?;
        Some((name, secret))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &HeldSecret> {
        self.0.values()
    }

    /// How often each was used.
    pub(crate) fn uses(&self) -> BTreeMap<String, u64> {
        let uses = self.0.iter();
        uses.map(|(name, secret)| (name.clone(), secret.uses.load(Ordering::Relaxed)))
            .collect()
    }
}

impl HeldSecret {
    /// The value, for what leaves.
    pub(crate) fn use_value(&self) -> &str {
        self.uses.fetch_add(1, Ordering::Relaxed);
        self.value.expose()
    }

    /// The value, to find it where it must not be.
    pub(crate) fn value(&self) -> &str {
        self.value.expose()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
