// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `tdk det-keygen`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use clap::ValueEnum;
use tpm_derived_keys::det_keygen::{self, Curve, PrivateKey};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::{Place, print};

/// The longest seed that is read, in bytes.
const MAX_SEED: usize = 4096;

/// Prints the private key that C2SP det-keygen makes of a seed
///
/// No TPM has a part in it: this is to compare with other implementations of c2sp.org/det-keygen.
/// Whoever looks at the list of processes sees the command's arguments: give a seed that is secret
/// on standard input.
#[derive(clap::Args)]
pub(crate) struct DetKeygen {
    /// rsaBITS, with a multiple of 16 from 2048 to 16384; p256, p384 or ed25519
    #[arg(long, value_name = "WHAT", allow_hyphen_values = true)]
    what: OsString,

    /// The seed in hex, 16 bytes or more, for ed25519 the 32 bytes of RFC 8032's private key; "-" to
    /// read it from standard input
    #[arg(long, value_name = "HEX", allow_hyphen_values = true)]
    seed: OsString,

    /// How to print the key's PKCS#8
    #[arg(long, default_value = "pem")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Der,
    Pem,
}

/// What is there, up to what is more than enough: without a buffer that would
/// keep it, and with room for all of it, so that no copy is left behind.
fn from_standard_input() -> io::Result<Zeroizing<Vec<u8>>> {
    const ENOUGH: usize = 2 * MAX_SEED + 100;
    let mut text = Zeroizing::new(Vec::with_capacity(ENOUGH));
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    input.take(ENOUGH as u64).read_to_end(&mut text)?;
    Ok(text)
}

impl DetKeygen {
    pub(crate) fn run(&self, place: &Place) -> Result<(), Error> {
        if place.is_given() {
            let what = "det-keygen needs no TPM: leave out --tcti, --backend and --config";
            return Err(Error::Usage(what.into()));
        }
        let seed = self.seed()?;
        let key = self.key(&seed)?;
        match self.format {
            Format::Der => print(&key.to_pkcs8_der()?),
            Format::Pem => print(key.to_pkcs8_pem()?.as_bytes()),
        }
    }

    fn key(&self, seed: &[u8]) -> Result<PrivateKey, Error> {
        match self.what.as_bytes() {
            b"p256" => Ok(det_keygen::ecdsa(seed, Curve::P256)?),
            b"p384" => Ok(det_keygen::ecdsa(seed, Curve::P384)?),
            b"ed25519" => Ok(det_keygen::ed25519(seed)?),
            rsa => {
                let bits = rsa.strip_prefix(b"rsa").filter(|bits| bits.len() <= 5);
                let bits = bits.filter(|bits| bits.iter().all(u8::is_ascii_digit));
                let bits = bits.and_then(|bits| std::str::from_utf8(bits).ok()?.parse().ok());
                let bits = bits.ok_or_else(|| {
                    let what = "--what is rsa and a number of bits, p256, p384 or ed25519";
                    Error::Usage(what.into())
                })?;
                Ok(det_keygen::rsa(seed, bits)?)
            }
        }
    }

    fn seed(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let text = if self.seed == "-" {
            from_standard_input().map_err(Error::Input)?
        } else {
            Zeroizing::new(self.seed.as_bytes().to_vec())
        };
        let digits = text.trim_ascii();
        if digits.len() > 2 * MAX_SEED {
            return Err(Error::Usage(format!("--seed has {MAX_SEED} bytes at most")));
        }
        hex::decode(digits)
            .map(Zeroizing::new)
            .map_err(|_| Error::Usage("--seed is not in hexadecimal".into()))
    }
}
