// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A whole program with a key of its own: prints the HMAC-SHA256 of standard
//! input under it, in hex.
//!
//! `mac KEY-ID` run from another place, changed, or by another user has another
//! key.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, Read};
use std::process::ExitCode;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use tdk_client::{Identity, Key, Request, What};

fn main() -> ExitCode {
    let Some(key_id) = std::env::args_os().nth(1) else {
        eprintln!("usage: mac KEY-ID");
        return ExitCode::from(2);
    };
    // First of all: without its key, the program has nothing to do.
    let request = Request::new(key_id.as_encoded_bytes(), What::Bytes(32), Identity::Path);
    let key = match request.ask() {
        Ok(key) => key,
        Err(error) => {
            eprintln!("mac: {error}: {}", error.hint());
            return ExitCode::FAILURE;
        }
    };
    match mac(&key) {
        Ok(mac) => {
            println!("{mac}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("mac: {error}");
            ExitCode::FAILURE
        }
    }
}

fn mac(key: &Key) -> Result<String, Box<dyn Error>> {
    let mut message = Vec::new();
    io::stdin().read_to_end(&mut message)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes())?;
    mac.update(&message);
    Ok(hex::encode(mac.finalize().into_bytes()))
}
