// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The root key's context, saved by whoever comes first, and loaded by all who come after
//! in the place of TPM2_CreatePrimary. The TPM has encrypted it to itself.

use std::fs::{self, File};
use std::io::ErrorKind;

use tpm_derived_keys::IdentityKey;
use tpm_derived_keys::identity::IdentityDigest;
use zeroize::Zeroizing;

use crate::Result;
use crate::wire::Wire;

/// `docs/derivation.md`, section 1.
const ROOT: &[u8] = b"\0\x08\0\x0B\0\x04\x04\x72\0\0\0\x05\0\x0B\0\x13tpm-derived-keys v1";

/// A derivation in clear, one at a time.
pub(crate) fn derive(tcti: &str, digest: &IdentityDigest) -> Result<IdentityKey> {
    // In the place of /run/tdk; the TPM's own directory goes with it.
    let path = tcti.strip_prefix("swtpm:path=").ok_or("no Unix socket")?;
    let turn = File::create(format!("{path}.turn"))?;
    turn.lock()?;
    let mut tpm = Wire::open(tcti)?;
    let context = format!("{path}.context");
    let root = match fs::read(&context) {
        Ok(context) => tpm.load_context(&context)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let root = tpm.create_primary(ROOT)?;
            fs::write(&context, tpm.save_context(root)?)?;
            root
        }
        Err(error) => return Err(error.into()),
    };
    let key = tpm.hmac(root, digest.as_bytes())?;
    tpm.flush(root)?;
    Ok(IdentityKey::new(Zeroizing::new(key)))
}
