// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How long real chips take.
//!
//! The published numbers are those of the section "TPM2 Benchmarks" of wolfTPM's
//! README (wolfSSL/wolfTPM), measured through that library: averages, in
//! milliseconds. It has none for what a derivation does most, so those are assumed:
//! see [`Chip::hash_kilobyte`] and [`Chip::small`].

use std::fmt::Write;
use std::str::FromStr;
use std::time::Duration;

use tpm2_protocol::data::TpmCc;
use tpm2_protocol::frame::TpmCommand;

use super::command::code;

/// What one chip takes for what, in milliseconds, as published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chip {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Chip and bus.
    pub what: &'static str,
    /// An ECC key (P-256), made from the hierarchy's seed.
    pub ecc_key: f64,
    /// An RSA key (2048 bits), made from the hierarchy's seed.
    pub rsa_key: f64,
    /// An ECDSA signature (P-256).
    pub ecdsa_sign: f64,
    /// ECDH (P-256): what a session costs that is salted to an ECC key.
    pub ecdh: f64,
    /// RSA (2048 bits) with the private key: what a session costs that is salted to
    /// an RSA key.
    pub rsa_private: f64,
    /// RSA (2048 bits) with the public key.
    pub rsa_public: f64,
    /// SHA-256, in KB/s, by updates of 1 KB.
    pub sha256: f64,
}

impl Chip {
    /// Those that there are numbers of.
    pub const ALL: [Self; 4] = [
        Self {
            name: "slb9670",
            what: "Infineon SLB9670, SPI at 43 MHz",
            ecc_key: 231.0,
            rsa_key: 2196.0,
            ecdsa_sign: 69.0,
            ecdh: 232.0,
            rsa_private: 163.0,
            rsa_public: 8.9,
            sha256: 137.0,
        },
        Self {
            name: "slb9672",
            what: "Infineon SLB9672, SPI at 43 MHz",
            ecc_key: 136.0,
            rsa_key: 1568.0,
            ecdsa_sign: 36.0,
            ecdh: 66.0,
            rsa_private: 77.0,
            rsa_public: 9.1,
            sha256: 85.0,
        },
        Self {
            name: "slb9673",
            what: "Infineon SLB9673, I2C at 400 kHz",
            ecc_key: 311.0,
            rsa_key: 1911.0,
            ecdsa_sign: 72.0,
            ecdh: 114.0,
            rsa_private: 168.0,
            rsa_public: 75.0,
            sha256: 6.6,
        },
        Self {
            name: "st33ktpm2x",
            what: "STMicroelectronics ST33KTPM2X, SPI at 33 MHz",
            ecc_key: 89.0,
            rsa_key: 1944.0,
            ecdsa_sign: 25.0,
            ecdh: 66.0,
            rsa_private: 91.0,
            rsa_public: 6.5,
            sha256: 127.0,
        },
    ];

    /// Assumed for TPM2_HMAC, TPM2_Hash, sequences, a signature by HMAC, a primary key of
    /// type KEYEDHASH, TPM2_Load and TPM2_Unseal, which nobody has published: what hashing
    /// 1 KB takes, the nearest that was. It has at least the transport of 1 KB in it.
    pub fn hash_kilobyte(&self) -> f64 {
        1000.0 / self.sha256
    }

    /// Assumed for all others, most of which have no cryptography, and which nobody has
    /// published: a
    /// quarter of [`Self::hash_kilobyte`], as they move about as much less.
    pub fn small(&self) -> f64 {
        self.hash_kilobyte() / 4.0
    }

    /// How long the chip takes for a command.
    pub fn latency(&self, command: &[u8]) -> Duration {
        let milliseconds = match TpmCc::try_from(code(command)) {
            Ok(TpmCc::CreatePrimary | TpmCc::Create | TpmCc::CreateLoaded) => {
                match object_type(command) {
                    Some(RSA) => self.rsa_key,
                    Some(ECC) => self.ecc_key,
                    _ => self.hash_kilobyte(),
                }
            }
            Ok(TpmCc::StartAuthSession) => match salt_length(command) {
                None | Some(0) => self.small(),
                // As long as the modulus, against the two coordinates of a point.
                Some(256..) => self.rsa_private,
                Some(_) => self.ecdh,
            },
            Ok(TpmCc::EcdhZGen | TpmCc::EcdhKeyGen) => self.ecdh,
            Ok(TpmCc::RsaDecrypt) => self.rsa_private,
            Ok(TpmCc::RsaEncrypt) => self.rsa_public,
            // Of an RSA key it would be rsa_private; whose the key is can't be seen.
            Ok(TpmCc::Quote | TpmCc::Certify) => self.ecdsa_sign,
            Ok(TpmCc::Sign) => match scheme(command) {
                Some(ECDSA) => self.ecdsa_sign,
                Some(RSASSA | RSAPSS) => self.rsa_private,
                // HMAC, as a derivation has it, or whatever the key has.
                _ => self.hash_kilobyte(),
            },
            Ok(
                TpmCc::Hmac
                | TpmCc::HmacStart
                | TpmCc::SequenceUpdate
                | TpmCc::SequenceComplete
                | TpmCc::Hash
                | TpmCc::Unseal
                | TpmCc::Load,
            ) => self.hash_kilobyte(),
            _ => self.small(),
        };
        Duration::from_secs_f64(milliseconds / 1000.0)
    }

    /// All chips in a table of Markdown: in milliseconds, what is assumed marked so.
    pub fn table() -> String {
        type Column = (&'static str, fn(&Chip) -> f64);
        let rows: [Column; 9] = [
            ("ECC key (P-256) from the seed", |chip| chip.ecc_key),
            ("RSA key (2048 bits) from the seed", |chip| chip.rsa_key),
            (
                "ECDSA signature (P-256): TPM2_Sign by ECDSA, TPM2_Quote, TPM2_Certify",
                |chip| chip.ecdsa_sign,
            ),
            (
                "ECDH: session salted to an ECC key, TPM2_ECDH_ZGen, TPM2_ECDH_KeyGen",
                |chip| chip.ecdh,
            ),
            (
                "RSA private: session salted to an RSA key, TPM2_RSA_Decrypt, TPM2_Sign by RSA",
                |chip| chip.rsa_private,
            ),
            ("RSA public: TPM2_RSA_Encrypt", |chip| chip.rsa_public),
            ("SHA-256, KB/s", |chip| chip.sha256),
            (
                "TPM2_HMAC, TPM2_Hash, sequences, TPM2_Sign by HMAC, KEYEDHASH primary, \
                 TPM2_Load, TPM2_Unseal (*assumed*: hashing 1 KB)",
                |chip| chip.hash_kilobyte(),
            ),
            (
                "all other commands (*assumed*: a quarter of that)",
                |chip| chip.small(),
            ),
        ];
        let mut table = String::from("| |");
        for chip in Self::ALL {
            let _ = write!(table, " `{}` |", chip.name);
        }
        table += "\n|---|---|---|---|---|\n";
        for (name, value) in rows {
            let _ = write!(table, "| {name} |");
            for chip in &Self::ALL {
                let value = (value(chip) * 10.0).round() / 10.0;
                let _ = write!(table, " {value} |");
            }
            table += "\n";
        }
        table
    }
}

impl FromStr for Chip {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|chip| chip.name == name);
        found.ok_or_else(|| {
            let known = Self::ALL.map(|chip| chip.name).join(", ");
            format!("'{name}' is no chip that there are numbers of: {known}")
        })
    }
}

/// TPM_ALG_RSA.
const RSA: u16 = 0x0001;
/// TPM_ALG_ECC.
const ECC: u16 = 0x0023;

/// TPM_ALG_ECDSA.
const ECDSA: u16 = 0x0018;
/// TPM_ALG_RSASSA.
const RSASSA: u16 = 0x0014;
/// TPM_ALG_RSAPSS.
const RSAPSS: u16 = 0x0016;

/// The algorithm of inScheme of TPM2_Sign, the second parameter, after digest.
fn scheme(command: &[u8]) -> Option<u16> {
    second_parameter(command)
}

/// The type of the object in inPublic, the second parameter, after inSensitive.
fn object_type(command: &[u8]) -> Option<u16> {
    let parameters = TpmCommand::cast(command).ok()?.parameters().ok()?;
    let (size, rest) = parameters.split_first_chunk()?;
    let public = rest.get(usize::from(u16::from_be_bytes(*size))..)?;
    let kind = public.get(2..4)?.try_into().ok()?;
    Some(u16::from_be_bytes(kind))
}

/// How long encryptedSalt is, the second parameter, after nonceCaller.
fn salt_length(command: &[u8]) -> Option<u16> {
    second_parameter(command)
}

/// What the second parameter begins with, where the first has its length before it.
fn second_parameter(command: &[u8]) -> Option<u16> {
    let parameters = TpmCommand::cast(command).ok()?.parameters().ok()?;
    let (size, rest) = parameters.split_first_chunk()?;
    let second = rest.get(usize::from(u16::from_be_bytes(*size))..)?;
    let (first, _) = second.split_first_chunk()?;
    Some(u16::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name() {
        for chip in Chip::ALL {
            assert_eq!(chip.name.parse(), Ok(chip));
        }
        "slb9999".parse::<Chip>().expect_err("unknown");
    }

    #[test]
    fn by_command() {
        let chip: Chip = "slb9670".parse().expect("a chip");
        let millis = |command: &[u8]| chip.latency(command).as_micros() / 100;
        // TPM2_FlushContext, TPM2_HMAC (whatever comes after its header).
        let flush = [0x80, 1, 0, 0, 0, 14, 0, 0, 1, 0x65, 0x80, 0, 0, 0];
        assert_eq!(millis(&flush), 18);
        let hmac = [0x80, 1, 0, 0, 0, 10, 0, 0, 1, 0x55];
        assert_eq!(millis(&hmac), 72);
        // TPM2_CreatePrimary: the owner, a password, inSensitive, the beginning of
        // inPublic.
        let create = |kind: u8| {
            let body = [
                &[0x40, 0, 0, 1, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0][..],
                &[0, 4, 0, 0, 0, 0, 0, 2, 0, kind],
            ]
            .concat();
            let size = u8::try_from(10 + body.len()).expect("short");
            [&[0x80, 2, 0, 0, 0, size, 0, 0, 1, 0x31][..], &body].concat()
        };
        assert_eq!(millis(&create(0x23)), 2310);
        assert_eq!(millis(&create(0x01)), 21_960);
        assert_eq!(millis(&create(0x08)), 72);
        // TPM2_StartAuthSession: tpmKey, bind, nonceCaller, encryptedSalt.
        let start = |salt: u16| {
            let body = [
                &[0x80, 0, 0, 0, 0x40, 0, 0, 7, 0, 1, 9][..],
                &salt.to_be_bytes(),
                &vec![0; salt.into()],
            ]
            .concat();
            let size = u32::try_from(10 + body.len()).expect("short").to_be_bytes();
            [&[0x80, 1][..], &size, &[0, 0, 1, 0x76], &body].concat()
        };
        assert_eq!(millis(&start(0)), 18);
        assert_eq!(millis(&start(68)), 2320);
        assert_eq!(millis(&start(256)), 1630);
        // TPM2_Sign: a key, a password, digest, the beginning of inScheme.
        let sign = |scheme: u8| {
            let body = [
                &[0x80, 0, 0, 0, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0][..],
                &[0, 2, 1, 2, 0, scheme, 0, 0x0b],
            ]
            .concat();
            let size = u8::try_from(10 + body.len()).expect("short");
            [&[0x80, 2, 0, 0, 0, size, 0, 0, 1, 0x5d][..], &body].concat()
        };
        assert_eq!(millis(&sign(0x05)), 72);
        assert_eq!(millis(&sign(0x18)), 690);
        assert_eq!(millis(&sign(0x14)), 1630);
        assert_eq!(millis(&sign(0x10)), 72);
        // TPM2_Unseal, TPM2_Load, TPM2_Hash, TPM2_GetRandom.
        for (code, expected) in [(0x5e, 72), (0x57, 72), (0x7d, 72), (0x7b, 18)] {
            assert_eq!(millis(&[0x80, 1, 0, 0, 0, 10, 0, 0, 1, code]), expected);
        }
    }

    #[test]
    fn the_page_has_these_numbers() {
        let page = include_str!("../../../docs/simulator.md");
        assert!(page.contains(&Chip::table()), "{}", Chip::table());
    }
}
