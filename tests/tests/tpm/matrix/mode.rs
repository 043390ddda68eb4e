// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ways to a key, and the TPMs for them.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tdk_simulator::proxy::{Fault, Rule};
use tdk_simulator::{StateSource, Swtpm};
use tdk_tests::golden;
use tdk_tests::middle::cc;
use tpm_derived_keys::IdentityKey;
use tpm_derived_keys::identity::{Identity, Realm, Scope, Subject};
use tpm_derived_keys::tpm::{
    Bus, Direct, Patience, RootKey, StorageAlgorithm, Tpm, TpmError, Trust,
};
use tpm_derived_keys_tss::Tss;

use crate::conversation::keep;

/// A way to a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mode {
    /// What the page calls it.
    pub(super) name: &'static str,
    bus: Bus,
    /// There is a storage key at 0x81000001.
    kept: bool,
    /// The TPM has no TPM2_HMAC.
    lacks_hmac: bool,
}

impl Mode {
    pub(super) const ALL: [Self; 5] = [
        Self {
            name: "Encrypted",
            bus: Bus::Encrypted,
            kept: false,
            lacks_hmac: false,
        },
        Self {
            name: "Encrypted, with a storage key that is kept in the TPM",
            bus: Bus::Encrypted,
            kept: true,
            lacks_hmac: false,
        },
        Self {
            name: "Encrypted, by a TPM without TPM2_HMAC",
            bus: Bus::Encrypted,
            kept: false,
            lacks_hmac: true,
        },
        Self {
            name: "Plain",
            bus: Bus::Plain,
            kept: false,
            lacks_hmac: false,
        },
        Self {
            name: "Plain, by a TPM without TPM2_HMAC",
            bus: Bus::Plain,
            kept: false,
            lacks_hmac: true,
        },
    ];

    pub(super) fn is_plain(self) -> bool {
        self.bus == Bus::Plain
    }

    /// The state of a TPM for this mode, made once in that directory.
    pub(super) fn prepare(self, directory: &Path) {
        let tpm = golden::tpm();
        if self.kept {
            keep(&tpm, &StorageAlgorithm::P256.template());
        }
        tpm.save(directory).unwrap();
    }

    /// What the TPM lacks, as rules.
    pub(super) fn rules(self) -> Vec<Rule> {
        // TPM_RC_COMMAND_CODE.
        let lacks = Rule::each(cc::HMAC, Fault::Answer(0x143));
        if self.lacks_hmac { vec![lacks] } else { vec![] }
    }

    /// A derivation from the start to the flush, as the callout does it.
    pub(super) fn derive(
        self,
        by: Library,
        tcti: &str,
        hold: Duration,
    ) -> Result<IdentityKey, TpmError> {
        let patience = Patience {
            hold,
            ..Patience::default()
        };
        let trust = Trust {
            bus: self.bus,
            root: None,
            srk: None,
            owner_auth: None,
        };
        let mut tpm: Box<dyn Tpm> = match by {
            Library::Direct => Box::new(Direct::open(&tcti.parse().unwrap(), &patience, &trust)?),
            Library::Tss => Box::new(Tss::open(&tcti.parse().unwrap(), &patience, &trust)?),
        };
        let mut root = RootKey::create(&mut tpm)?;
        let identity = Identity::new(Subject::Id, Scope::Uid, 0, Realm::default()).unwrap();
        let key = root.identity_key(&identity.digest())?;
        // The key is there; that something may be left behind does not take it away.
        let _ = root.flush();
        Ok(key)
    }
}

/// A TPM with a copy of that state. One is started after the other, so that those who have
/// theirs get on: the time that they have runs, however slow the machine is.
pub(super) fn tpm(state: &Path) -> Swtpm {
    static STARTING: Mutex<()> = Mutex::new(());
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    let state = StateSource::CopyOf(state.into());
    let limit = Duration::from_mins(1);
    let tpm = Swtpm::builder().state(state).time_limit(limit);
    tpm.start().unwrap()
}

/// Who speaks to the TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Library {
    Direct,
    Tss,
}

impl Library {
    pub(super) const ALL: [Self; 2] = [Self::Direct, Self::Tss];
}
