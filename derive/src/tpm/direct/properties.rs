// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a TPM says of itself.

use tpm2_protocol::data::TpmPt;

use super::{Direct, commands};
use crate::tpm::session::malformed;
use crate::tpm::{Command, TpmError};

/// Bits of TPMA_PERMANENT and TPMA_STARTUP_CLEAR: Part 2, sections 8.6 and 8.7.
const OWNER_AUTH_SET: u32 = 1 << 0;
const IN_LOCKOUT: u32 = 1 << 9;
const SH_ENABLE: u32 = 1 << 1;

/// What a TPM says of itself, as far as it matters for derived keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// Who made it, and what they call it, as far as that can be printed.
    pub model: String,
    /// TPM_PT_FIRMWARE_VERSION_1 and 2. What they mean is the maker's affair.
    pub firmware: [u32; 2],
    /// ownerAuthSet: the owner hierarchy has an authorization.
    pub owner_auth_set: bool,
    /// shEnable: the owner hierarchy is switched on.
    pub owner_enabled: bool,
    /// inLockout: too many wrong authorizations. Root keys are exempt.
    pub in_lockout: bool,
    /// How many wrong authorizations are counted.
    pub lockout_counter: u32,
    /// How many lead to lockout.
    pub max_auth_fail: u32,
}

impl Direct {
    /// Asks the TPM about itself: TPM2_GetCapability of TPM_CAP_TPM_PROPERTIES.
    ///
    /// # Errors
    ///
    /// A [`TpmError`] of TPM2_GetCapability.
    pub fn properties(&mut self) -> Result<Properties, TpmError> {
        let fixed = self.property_values(TpmPt::Manufacturer, 8)?;
        let state = self.property_values(TpmPt::Permanent, 2)?;
        let lockout = self.property_values(TpmPt::LockoutCounter, 2)?;
        let value = |wanted| {
            [&fixed, &state, &lockout]
                .into_iter()
                .flatten()
                .find(|(property, _)| *property == wanted)
                .map(|(_, value)| *value)
                .ok_or_else(|| malformed(Command::GetCapability, format!("it lacks {wanted}")))
        };
        let permanent = value(TpmPt::Permanent)?;
        let texts = [
            TpmPt::Manufacturer,
            TpmPt::VendorString1,
            TpmPt::VendorString2,
            TpmPt::VendorString3,
            TpmPt::VendorString4,
        ];
        Ok(Properties {
            model: model(texts.map(|text| value(text).unwrap_or_default())),
            firmware: [
                value(TpmPt::FirmwareVersion1).unwrap_or_default(),
                value(TpmPt::FirmwareVersion2).unwrap_or_default(),
            ],
            owner_auth_set: permanent & OWNER_AUTH_SET != 0,
            owner_enabled: value(TpmPt::StartupClear)? & SH_ENABLE != 0,
            in_lockout: permanent & IN_LOCKOUT != 0,
            lockout_counter: value(TpmPt::LockoutCounter)?,
            max_auth_fail: value(TpmPt::MaxAuthFail)?,
        })
    }

    fn property_values(&mut self, first: TpmPt, count: u32) -> Result<Vec<(TpmPt, u32)>, TpmError> {
        self.ask(Command::GetCapability, |wire, until| {
            let command = commands::properties(first, count);
            wire.ask(command, until, commands::property_values)
        })
    }
}

/// Four characters of the maker, and up to sixteen of the model's name.
fn model(words: [u32; 5]) -> String {
    let text = |words: &[u32]| -> String {
        let bytes = words.iter().flat_map(|word| word.to_be_bytes());
        let printable = bytes.filter(|byte| byte.is_ascii_graphic() || *byte == b' ');
        printable.map(char::from).collect()
    };
    let (maker, name) = words.split_at(1);
    let text = format!("{} {}", text(maker), text(name));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models() {
        let word = |text: &[u8; 4]| u32::from_be_bytes(*text);
        let of = |words: [&[u8; 4]; 5]| model(words.map(word));
        assert_eq!(
            of([b"IFX\0", b"SLB9", b"670\0", b"\0\0\0\0", b"\0\0\0\0"]),
            "IFX SLB9670"
        );
        assert_eq!(
            of([b"IBM\0", b"SW  ", b" TPM", b"\0\0\0\0", b"\x1b[2J"]),
            "IBM SW TPM[2J"
        );
        assert_eq!(model([0; 5]), "");
    }
}
