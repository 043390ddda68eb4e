// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A request, from the strings to the payload: each stage takes the one before.

use tpm_derived_keys::Payload;
use tpm_derived_keys::request::Request;
use tpm_derived_keys::tpm::{Direct, RootKey, TpmError};

use crate::failure::Failure;
use crate::program::Call;

/// Makes the payload that the caller is to get.
///
/// # Errors
///
/// A [`Failure`] with the errno for the asker.
pub fn serve(call: &mut Call<'_>) -> Result<Payload, Failure> {
    let (key_type, description, callout_info) = call.strings();
    let request = Request::parse(key_type, description, callout_info)?;

    let asker = call.asker()?;
    call.policy().rule_out(request.kind(), asker.doubts())?;
    let subject = asker.subject(request.kind())?;

    let identified = request.identify(subject, asker.uid(), call.config().realm())?;
    let decision = call.policy().decide(identified, &mut &asker)?;
    call.note_decision(&decision);

    let unlocked = call.with_tpm(|tpm| {
        let mut root = RootKey::create(tpm)?;
        let unlocked = decision.unlock(&mut root)?;
        // The key is there; that the root may be left behind is worth a line,
        // not the key.
        Ok((unlocked, root.name(), root.flush().err()))
    });
    let (unlocked, root, left_behind) = unlocked?;
    call.note_root(root);
    if let Some(error) = left_behind {
        call.note_left_behind(&error);
    }
    make_way();
    Ok(unlocked.payload()?)
}

/// Others come first from here on: whoever asks for RSA keys has root search for
/// primes, whatever limits there are for the asker's own computing.
fn make_way() {
    // Not allowed in a container, perhaps; then it is as before.
    let _ = rustix::process::nice(10);
}

impl Call<'_> {
    /// Opens the TPM, does something with it, and closes it again. Signals wait
    /// a little meanwhile, so that nothing is left in the TPM.
    fn with_tpm<T>(
        &mut self,
        work: impl FnOnce(&mut Direct) -> Result<T, TpmError>,
    ) -> Result<T, Failure> {
        let mut tpm = Direct::open(self.tcti(), &self.config().patience(), self.trust())?;
        self.watch().holding_tpm(true);
        let result = work(&mut tpm);
        self.note_tpm(tpm.commands(), tpm.is_stuck());
        drop(tpm);
        self.watch().holding_tpm(false);
        result.map_err(Failure::from)
    }
}
