// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ways to speak to a TPM, for tests that are run over each.

use std::time::Duration;

use tpm_derived_keys::KeyInfo;
use tpm_derived_keys::identity::{Identity, IdentityDigest, Realm, Scope, Subject};
use tpm_derived_keys::request::Request;
use tpm_derived_keys::tpm::{Bus, Direct, Name, Patience, RootKey, Tpm, TpmError, Trust};
use tpm_derived_keys_tss::Tss;

use crate::middle::cc;

/// The Name of the root key, and a key that hangs on the identity key.
pub type Derived = (Name, Vec<u8>);

/// Who speaks to the TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// This project.
    Direct,
    /// This project, without protecting the conversation.
    Plain,
    /// libtss2.
    Tss,
}

impl Backend {
    /// All.
    pub const ALL: [Self; 3] = [Self::Direct, Self::Plain, Self::Tss];

    /// What `tdk --backend` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct | Self::Plain => "direct",
            Self::Tss => "tss",
        }
    }

    /// Whether the conversation is protected.
    pub fn bus(self) -> Bus {
        match self {
            Self::Direct | Self::Tss => Bus::Encrypted,
            Self::Plain => Bus::Plain,
        }
    }

    /// The commands of a derivation, where nothing goes wrong, and no storage key is
    /// kept in the TPM.
    pub fn commands(self) -> &'static [u32] {
        match self.bus() {
            Bus::Plain => &[cc::CREATE_PRIMARY, cc::HMAC, cc::FLUSH_CONTEXT],
            Bus::Encrypted => &[
                // There is no storage key in the TPM.
                cc::READ_PUBLIC,
                // What others have loaded: objects, and sessions.
                cc::GET_CAPABILITY,
                cc::GET_CAPABILITY,
                // So one is made.
                cc::CREATE_PRIMARY,
                cc::START_AUTH_SESSION,
                cc::FLUSH_CONTEXT,
                // The root key.
                cc::CREATE_PRIMARY,
                cc::HMAC,
                cc::FLUSH_CONTEXT,
                // The session.
                cc::FLUSH_CONTEXT,
            ],
        }
    }

    /// Opens the TPM at `tcti`, whichever it is.
    pub fn open(self, tcti: &str, patience: &Patience) -> Result<Box<dyn Tpm>, TpmError> {
        self.open_known(tcti, patience, None, None)
    }

    /// Opens the TPM at `tcti`, whose root key and storage key have these Names.
    pub fn open_known(
        self,
        tcti: &str,
        patience: &Patience,
        root: Option<Name>,
        srk: Option<Name>,
    ) -> Result<Box<dyn Tpm>, TpmError> {
        let trust = Trust {
            bus: self.bus(),
            root,
            srk,
            owner_auth: None,
        };
        self.open_as(tcti, patience, &trust)
    }

    /// Opens the TPM at `tcti` in that way.
    pub fn open_as(
        self,
        tcti: &str,
        patience: &Patience,
        trust: &Trust,
    ) -> Result<Box<dyn Tpm>, TpmError> {
        match self {
            Self::Direct | Self::Plain => {
                let direct = Direct::open(&tcti.parse().unwrap(), patience, trust)?;
                Ok(Box::new(direct))
            }
            Self::Tss => {
                let tss = Tss::open(&tcti.parse().unwrap(), patience, trust)?;
                Ok(Box::new(tss))
            }
        }
    }

    /// Derives from the TPM at `tcti` in that way.
    pub fn derive_as(self, tcti: &str, trust: &Trust) -> Result<Derived, TpmError> {
        let mut tpm = self.open_as(tcti, &PATIENCE, trust)?;
        let mut root = RootKey::create(&mut tpm)?;
        let name = root.name();
        let key = root.identity_key(&digest())?;
        root.flush()?;
        let request = Request::parse(b"user", b"tpm2:derived:x", b"32 id").unwrap();
        let okm = key.expand(&KeyInfo::from(&request));
        Ok((name, okm.as_bytes().to_vec()))
    }

    /// One of two: what the backends have to differ in.
    pub fn pick<T>(self, direct: T, tss: T) -> T {
        match self {
            Self::Direct | Self::Plain => direct,
            Self::Tss => tss,
        }
    }
}

/// Enough for a busy machine.
pub const PATIENCE: Patience = Patience {
    turn: Duration::from_mins(2),
    hold: Duration::from_mins(1),
};

/// What an identity key is asked for.
pub fn digest() -> IdentityDigest {
    let identity = Identity::new(Subject::Id, Scope::Uid, 0, Realm::default()).unwrap();
    identity.digest()
}

/// Makes tests of functions that take a [`Backend`]: `a(backend)` becomes
/// `a::direct`, `a::plain` and `a::tss`.
#[macro_export]
macro_rules! over_both_backends {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            use $crate::backend::Backend;

            #[test]
            fn direct() {
                super::$name(Backend::Direct);
            }

            #[test]
            fn plain() {
                super::$name(Backend::Plain);
            }

            #[test]
            fn tss() {
                super::$name(Backend::Tss);
            }
        })+
    };
}
