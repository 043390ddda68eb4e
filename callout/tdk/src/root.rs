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
    /// Print a JSON object with the Name, where the TPM is and who speaks to it
    #[arg(long)]
    json: bool,
}

impl Root {
    pub(crate) fn run(&self, place: &Place) -> Result<(), Error> {
        let way = place.way()?;
        let name = place.with_owner_auth(|auth| {
            let mut tpm = place.open_any(auth)?;
            let root = RootKey::create(&mut tpm)?;
            let name = root.name().to_string();
            root.flush()?;
            Ok(name)
        })?;
        let text = if self.json {
            let json = json!({
                "backend": way.backend(),
                "name": name,
                "tcti": way.to_string(),
            });
            format!("{json:#}\n")
        } else {
            format!("{name}\n")
        };
        print(text.as_bytes())
    }
}
