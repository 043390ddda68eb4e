// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One of many askers, for tests and benchmarks: a process that says that it is there,
//! waits until its standard input ends, and asks.
//!
//! `asker NUMBER TYPE KEY-ID WHAT IDENTITY` prints `ready`, and then one line: the number,
//! when it asked and was answered (nanoseconds of the monotonic clock), and `key HEX`,
//! `later` or `error WORDS`. Of a key that nobody can read, HEX is what shows that it is
//! there: of type `asymmetric`, its signature of a digest of zeros; of type `logon`, what
//! the kernel says of it. It stays until it is killed, so that its end does
//! not take the time of those that still wait.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::thread;

use rustix::time::{ClockId, clock_gettime};
use tdk_client::{Error, Identity, KeyType, Request, Session, What};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [number, key_type, key_id, what, identity] = &arguments[..] else {
        let usage = "asker NUMBER TYPE KEY-ID WHAT IDENTITY";
        return Err(io::Error::other(usage));
    };
    let request = request(key_id, what, identity)?;
    say("ready\n")?;
    io::stdin().read_to_end(&mut Vec::new())?;
    let asked = now();
    let answer = match key_type.as_str() {
        "asymmetric" => signature(request),
        "logon" => description(key_id, &format!("{what} {identity}")),
        _ => request.ask().map(|key| key.as_bytes().to_vec()),
    };
    let answered = now();
    let answer = match answer {
        Ok(shown) => format!("key {}", hex::encode(shown)),
        Err(Error::Later) => "later".into(),
        Err(error) => format!("error {error}"),
    };
    say(&format!("{number} {asked} {answered} {answer}\n"))?;
    loop {
        thread::park();
    }
}

fn request(key_id: &str, what: &str, identity: &str) -> io::Result<Request> {
    let what = match what {
        "rsa2048" => What::Rsa(2048),
        "p256" => What::P256,
        "p384" => What::P384,
        "ed25519" => What::Ed25519,
        length => What::Bytes(length.parse().map_err(io::Error::other)?),
    };
    let identity = match identity {
        "id" => Identity::Id,
        _ => Identity::Path,
    };
    Ok(Request::new(key_id, what, identity))
}

/// By a key that stays in this process's session keyring.
fn signature(request: Request) -> Result<Vec<u8>, Error> {
    let serial = Session::join()?.ask(&request.key_type(KeyType::Asymmetric))?;
    let info = c"enc=pkcs1 hash=sha256";
    let size = tdk_sys::pkey_size(serial, info)?.div_ceil(8);
    let size = usize::try_from(size).expect("a modulus fits");
    Ok(tdk_sys::pkey_sign(serial, info, &[0; 32], size)?)
}

/// Of a key of type `logon`, which the library does not ask for.
fn description(key_id: &str, info: &str) -> Result<Vec<u8>, Error> {
    tdk_sys::join_new_session()?;
    let words = |text: String| CString::new(text).expect("arguments have no byte 0");
    let description = words(format!("tpm2:derived:{key_id}"));
    let info = words(info.into());
    let ring = tdk_sys::SESSION_KEYRING;
    let serial = tdk_sys::request_key(c"logon", &description, Some(&info), ring)?;
    Ok(tdk_sys::describe(serial)?)
}

/// In one piece, since others write to the same pipe.
fn say(line: &str) -> io::Result<()> {
    io::stdout().write_all(line.as_bytes())
}

fn now() -> i128 {
    let now = clock_gettime(ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
}
