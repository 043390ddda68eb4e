// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What tests ask of a simulated TPM, or do to it, behind the back of the
//! program under test.

use std::io;

use crate::error::SimError;
use crate::swtpm::Swtpm;
use crate::wire;

impl Swtpm {
    /// The handles of all transient objects (`TPM2_GetCapability`): what a
    /// program has loaded and not flushed.
    ///
    /// # Errors
    ///
    /// As for [`Swtpm::send`]; [`SimError::Tpm`] if the TPM refuses.
    pub fn transient_handles(&self) -> Result<Vec<u32>, SimError> {
        self.handles(wire::TRANSIENT_FIRST)
    }

    /// The handles of all sessions that are loaded (`TPM2_GetCapability`): what a
    /// program has started and not flushed.
    ///
    /// # Errors
    ///
    /// As for [`Swtpm::send`]; [`SimError::Tpm`] if the TPM refuses.
    pub fn session_handles(&self) -> Result<Vec<u32>, SimError> {
        self.handles(wire::LOADED_SESSION_FIRST)
    }

    fn handles(&self, mut first: u32) -> Result<Vec<u32>, SimError> {
        let command = "TPM2_GetCapability";
        let mut all = Vec::new();
        loop {
            let response = self.execute(command, &wire::get_handles(first))?;
            let Some((handles, more)) = wire::handles(&response) else {
                return Err(SimError::BadResponse { command, response });
            };
            all.extend(handles);
            match all.last() {
                Some(last) if more => first = last + 1,
                _ => return Ok(all),
            }
        }
    }

    /// Gives the owner hierarchy an authorization value
    /// (`TPM2_HierarchyChangeAuth`). It must be empty so far, as in a new or
    /// cleared TPM. The value survives a restart.
    ///
    /// # Errors
    ///
    /// As for [`Swtpm::send`]; [`SimError::Tpm`] if the TPM refuses.
    pub fn set_owner_auth(&self, auth: &[u8]) -> Result<(), SimError> {
        let command = "TPM2_HierarchyChangeAuth";
        let frame = wire::set_owner_auth(auth).ok_or_else(|| {
            SimError::io("making an authorization value")(io::ErrorKind::InvalidInput.into())
        })?;
        self.execute(command, &frame).map(drop)
    }

    /// Disables the owner hierarchy until the next restart
    /// (`TPM2_HierarchyControl`, authorized by the platform hierarchy).
    ///
    /// # Errors
    ///
    /// As for [`Swtpm::send`]; [`SimError::Tpm`] if the TPM refuses.
    pub fn disable_owner_hierarchy(&self) -> Result<(), SimError> {
        self.execute("TPM2_HierarchyControl", &wire::disable_owner())
            .map(drop)
    }

    /// Says how many wrong authorizations lead to lockout
    /// (`TPM2_DictionaryAttackParameters`). With 0, it is there at once.
    ///
    /// # Errors
    ///
    /// As for [`Swtpm::send`]; [`SimError::Tpm`] if the TPM refuses.
    pub fn set_max_tries(&self, tries: u32) -> Result<(), SimError> {
        self.execute(
            "TPM2_DictionaryAttackParameters",
            &wire::set_max_tries(tries),
        )
        .map(drop)
    }

    /// Clears the TPM (`TPM2_Clear`, authorized by the platform hierarchy):
    /// the owner gets a new seed and an empty authorization value, and what
    /// was made under the old seed is lost.
    ///
    /// # Errors
    ///
    /// As for [`Swtpm::send`]; [`SimError::Tpm`] if the TPM refuses.
    pub fn clear_owner(&self) -> Result<(), SimError> {
        self.execute("TPM2_Clear", &wire::clear()).map(drop)
    }

    /// The response to a command that is to succeed.
    fn execute(&self, command: &'static str, frame: &[u8]) -> Result<Vec<u8>, SimError> {
        let response = self.send(frame)?;
        match wire::response_code(&response) {
            Some(wire::RC_SUCCESS) => Ok(response),
            Some(code) => Err(SimError::Tpm { command, code }),
            None => Err(SimError::BadResponse { command, response }),
        }
    }
}
