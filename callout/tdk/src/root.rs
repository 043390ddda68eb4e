// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk root`.

use serde_json::json;
use tpm_derived_keys::tpm::RootKey;

use crate::error::Error;
use crate::{Place, print};

/// Prints the Name of the root key, which tells this TPM's owner seed from others
///
/// As long as it stays the same, so do all derived keys.
#[derive(clap::Args)]
pub(crate) struct Root {
    /// Print a JSON object with the Name and where the TPM is
    #[arg(long)]
    json: bool,
}

impl Root {
    pub(crate) fn run(&self, place: &Place) -> Result<(), Error> {
        let tcti = place.tcti()?.to_string();
        let mut tpm = place.open()?;
        let root = RootKey::create(&mut tpm)?;
        let name = root.name().to_string();
        root.flush()?;
        let text = if self.json {
            format!("{:#}\n", json!({ "name": name, "tcti": tcti }))
        } else {
            format!("{name}\n")
        };
        print(text.as_bytes())
    }
}
