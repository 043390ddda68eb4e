// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A policy of the owner hierarchy's: TPM2_PolicyPCR, and nothing else.

use std::fmt;
use std::str::FromStr;

/// A selection of PCRs, of one or more banks, in the order in which it was written:
/// `BANK:PCR,PCR...`, more than one joined by `+`, as tpm2-tools have it.
///
/// Who uses it shows by TPM2_PolicyPCR (Part 3, section 23.7) that these PCRs have the
/// values that a policy asks for:
///
/// ```text
/// policy = SHA-256(0^32 || 0000017f || TPML_PCR_SELECTION || SHA-256(values of the PCRs))
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PcrPolicy(Vec<PcrBank>);

/// A TPMS_PCR_SELECTION (Part 2, section 10.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcrBank {
    /// The hash algorithm, a TPM_ALG_ID.
    pub hash: u16,
    /// Bit `n % 8` of byte `n / 8` is PCR `n`.
    pub select: [u8; 3],
}

/// What banks are called, and their TPM_ALG_ID (Part 2, section 6.3).
const BANKS: [(&str, u16); 4] = [
    ("sha1", 0x0004),
    ("sha256", 0x000B),
    ("sha384", 0x000C),
    ("sha512", 0x000D),
];

impl PcrPolicy {
    /// The banks, each once.
    pub fn banks(&self) -> &[PcrBank] {
        &self.0
    }

    /// The TPML_PCR_SELECTION (Part 2, section 10.9.7), marshalled.
    pub fn selection(&self) -> Vec<u8> {
        let count = u32::try_from(self.0.len()).expect("there are four banks");
        let mut bytes = count.to_be_bytes().to_vec();
        for bank in &self.0 {
            bytes.extend(bank.hash.to_be_bytes());
            bytes.push(3);
            bytes.extend(bank.select);
        }
        bytes
    }
}

impl PcrBank {
    fn parse(text: &str) -> Option<Self> {
        let (name, pcrs) = text.split_once(':')?;
        let (_, hash) = BANKS.into_iter().find(|(bank, _)| *bank == name)?;
        let mut select = [0; 3];
        for pcr in pcrs.split(',') {
            let is_number = pcr.bytes().all(|byte| byte.is_ascii_digit());
            let pcr: usize = pcr.parse().ok().filter(|_| is_number)?;
            *select.get_mut(pcr / 8)? |= 1 << (pcr % 8);
        }
        Some(Self { hash, select })
    }
}

impl FromStr for PcrPolicy {
    type Err = PcrPolicyError;

    fn from_str(text: &str) -> Result<Self, PcrPolicyError> {
        let mut banks = Vec::<PcrBank>::new();
        for text in text.split('+') {
            let bank = PcrBank::parse(text).ok_or(PcrPolicyError)?;
            if banks.iter().any(|other| other.hash == bank.hash) {
                return Err(PcrPolicyError);
            }
            banks.push(bank);
        }
        Ok(Self(banks))
    }
}

/// A text that selects no PCRs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcrPolicyError;

impl fmt::Display for PcrPolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PCRs are needed as in sha256:0,7 or sha1:0+sha256:0,7: each of the banks sha1, sha256, \
             sha384 and sha512 at most once, and numbers from 0 to 23"
        )
    }
}

impl std::error::Error for PcrPolicyError {}

/// As it can be written, with the PCRs in order.
impl fmt::Display for PcrPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between_banks = "";
        for bank in &self.0 {
            let name = BANKS.iter().find(|(_, hash)| *hash == bank.hash);
            write!(f, "{between_banks}{}", name.map_or("?", |(name, _)| name))?;
            between_banks = "+";
            let mut between = ':';
            for pcr in 0..24 {
                if bank.select[pcr / 8] & 1 << (pcr % 8) != 0 {
                    write!(f, "{between}{pcr}")?;
                    between = ',';
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_as_the_tpm_reads_them() {
        for (text, expected) in [
            ("sha256:7", "00000001000b03800000"),
            ("sha256:0,8,23", "00000001000b03010180"),
            ("sha1:1+sha512:2", "0000000200040302000000 0d03040000"),
            ("sha384:0,00,1", "00000001000c03030000"),
        ] {
            let policy: PcrPolicy = text.parse().unwrap();
            let expected = expected.replace(' ', "");
            assert_eq!(hex::encode(policy.selection()), expected, "{text}");
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        let policy: PcrPolicy = "sha256:7,1+sha1:3".parse().unwrap();
        assert_eq!(policy.to_string(), "sha256:1,7+sha1:3");
    }

    #[test]
    fn what_selects_nothing() {
        for text in [
            "",
            "7",
            "sha256",
            "sha256:",
            "sha256:24",
            "sha256:7,",
            "sha256:,7",
            "sha256:+7",
            "sha256:-1",
            "sha256: 7",
            "SHA256:7",
            "md5:7",
            "sha256:7+",
            "+sha256:7",
            "sha256:1+sha256:2",
            "sha256:99999999999999999999",
        ] {
            assert_eq!(text.parse::<PcrPolicy>(), Err(PcrPolicyError), "{text}");
        }
    }
}
