// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TPM-derived keys from TPMs that libtss2, the TPM2 Software Stack, knows the
//! way to: resource managers, simulators, commands.
//!
//! [`Tss`] is a [`Tpm`](tpm_derived_keys::tpm::Tpm) as
//! [`Direct`](tpm_derived_keys::tpm::Direct) is one, and gives the same keys. It
//! is a crate of its own so that nothing else needs libtss2.
//!
//! Secrets are wiped from what libtss2 hands over, but not from its own buffers,
//! which it frees as they are.

mod code;
mod esys;
mod ffi;
mod tcti;

pub use esys::EsysThread;
pub use ffi::quiet;
pub use tcti::TssTcti;

use tpm_derived_keys::tpm::Session;

/// The backend that has libtss2 speak to the TPM.
pub type Tss = Session<EsysThread>;
