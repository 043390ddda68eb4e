// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Both ways to speak to a TPM, for tests that are run over each.

use tpm_derived_keys::tpm::{Direct, Patience, Tpm, TpmError};
use tpm_derived_keys_tss::Tss;

/// Who speaks to the TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// This project.
    Direct,
    /// libtss2.
    Tss,
}

impl Backend {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Direct, Self::Tss];

    /// What `tdk --backend` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Tss => "tss",
        }
    }

    /// Opens the TPM at `tcti`.
    pub fn open(self, tcti: &str, patience: &Patience) -> Result<Box<dyn Tpm>, TpmError> {
        match self {
            Self::Direct => {
                let direct = Direct::open(&tcti.parse().unwrap(), patience)?;
                Ok(Box::new(direct))
            }
            Self::Tss => {
                let tss = Tss::open(&tcti.parse().unwrap(), patience)?;
                Ok(Box::new(tss))
            }
        }
    }

    /// One of two: what the backends have to differ in.
    pub fn pick<T>(self, direct: T, tss: T) -> T {
        match self {
            Self::Direct => direct,
            Self::Tss => tss,
        }
    }
}

/// Makes tests of functions that take a [`Backend`]: `a(backend)` becomes
/// `a::direct` and `a::tss`.
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
            fn tss() {
                super::$name(Backend::Tss);
            }
        })+
    };
}
