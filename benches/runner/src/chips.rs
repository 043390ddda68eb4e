// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Requests to a TPM that takes as long as real chips.

use crate::Result;
use crate::run::Run;

pub(crate) fn measure(run: &mut Run) -> Result<()> {
    run.note_missing("requests on the latencies of real chips", "not there yet");
    Ok(())
}
