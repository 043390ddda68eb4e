// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One of many askers, for tests and benchmarks: a process that says that it is there,
//! waits until its standard input ends, and asks.
//!
//! `asker NUMBER KEY-ID LENGTH IDENTITY` prints `ready`, and then one line: the number,
//! when it asked and was answered (nanoseconds of the monotonic clock), and `key HEX`,
//! `later` or `error WORDS`. It stays until it is killed, so that its end does
//! not take the time of those that still wait.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::thread;

use rustix::time::{ClockId, clock_gettime};
use tdk_client::{Error, Identity, Request, What};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [number, key_id, length, identity] = &arguments[..] else {
        return Err(io::Error::other("asker NUMBER KEY-ID LENGTH IDENTITY"));
    };
    let length = length.parse().map_err(io::Error::other)?;
    let identity = match identity.as_str() {
        "id" => Identity::Id,
        _ => Identity::Path,
    };
    let request = Request::new(key_id, What::Bytes(length), identity);
    say("ready\n")?;
    io::stdin().read_to_end(&mut Vec::new())?;
    let asked = now();
    let answer = request.ask();
    let answered = now();
    let answer = match answer {
        Ok(key) => format!("key {}", hex::encode(key.as_bytes())),
        Err(Error::Later) => "later".into(),
        Err(error) => format!("error {error}"),
    };
    say(&format!("{number} {asked} {answered} {answer}\n"))?;
    loop {
        thread::park();
    }
}

/// In one piece, since others write to the same pipe.
fn say(line: &str) -> io::Result<()> {
    io::stdout().write_all(line.as_bytes())
}

fn now() -> i128 {
    let now = clock_gettime(ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
}
