// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What `tests/fuzz` looks at in here.

use zeroize::Zeroizing;

use super::commands;
use super::link::MOST;
use super::protected::{ENCRYPT, Protected};
use crate::tpm::{Name, ResponseCode, StorageKey};

type Taken = Option<Zeroizing<[u8; 32]>>;

/// A response to each of the commands: the first byte says to which.
pub fn response(data: &[u8]) {
    let Some((command, response)) = data.split_first() else {
        return;
    };
    let response = &response[..response.len().min(MOST)];
    let mut buffer = [0; MOST];
    buffer[..response.len()].copy_from_slice(response);
    if let Some(code) = ResponseCode::new(commands::code(&buffer)) {
        drop(code.to_string());
    }
    match command % 10 {
        0 => drop(commands::created(response)),
        1 => drop(commands::public_area(response)),
        2 => drop(commands::handles(response)),
        3 => drop(commands::property_values(response)),
        4 => is_of(response, commands::out_hmac(response).ok()),
        5 => is_of(response, commands::hmac_signature(response).ok()),
        6 => drop(commands::object(response)),
        7 => is_of(response, commands::sequence_result(response).ok()),
        8 => {
            if let Ok((_, nonce)) = commands::started(response) {
                assert!(nonce.len() >= 16);
            }
        }
        _ => {
            let _ = Name::of_root(response);
            let _ = StorageKey::of(response);
        }
    }
}

/// A secret is 32 bytes of the response, and nothing else.
fn is_of(response: &[u8], secret: Taken) {
    if let Some(secret) = secret {
        assert!(response.windows(32).any(|bytes| bytes == &secret[..]));
    }
}

/// A response in a session. As it is it is never taken, for nobody who does not know
/// the session's key makes its HMAC. With parameters of any kind and the right HMAC
/// it is read, and then gives a key or does not.
pub fn session(data: &[u8]) {
    const CODE: u32 = 0x155;
    for (attributes, is_second) in [(0, false), (ENCRYPT, false), (ENCRYPT, true)] {
        let mut session = Protected::fixed(attributes, is_second);
        assert!(session.check(CODE, &mut data.to_vec()).is_err());

        let mut body = session.sealed(CODE, data);
        if session.check(CODE, &mut body).is_ok() {
            let mut response = [&[0x80, 0x02, 0, 0, 0, 0, 0, 0, 0, 0][..], &body].concat();
            let length = u32::try_from(response.len()).unwrap_or(u32::MAX);
            response[2..6].copy_from_slice(&length.to_be_bytes());
            is_of(&response, commands::out_hmac(&response).ok());
        }
    }
}
