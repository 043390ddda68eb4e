// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Many askers at once, as when a machine boots: threads of this process, each of a
//! user of its own, in session keyrings of their own, by way of the library for askers.
//!
//! Needs root, to become other users.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};
use tdk_client::{Error, Identity, Request, What};

/// A request that is to be made.
#[derive(Clone, Debug)]
pub struct Asking {
    /// Who asks.
    pub uid: u32,
    /// For which key.
    pub key_id: String,
    /// How long it is to be.
    pub length: u16,
    /// By what the asker is to be known.
    pub identity: Identity,
}

/// What came of it.
#[derive(Debug)]
pub struct Answered {
    /// When it was asked, after the first could have been.
    pub asked: Duration,
    /// When the answer was there.
    pub answered: Duration,
    /// The key.
    pub key: Result<Vec<u8>, Error>,
}

impl Answered {
    /// How long the asker waited.
    pub fn waited(&self) -> Duration {
        self.answered.saturating_sub(self.asked)
    }
}

impl Asking {
    /// Asks, in a thread that becomes that user and ends. Nobody can go back.
    fn ask(&self, start: Instant) -> Answered {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.uid));
        set_thread_res_gid(gid, gid, gid).unwrap();
        set_thread_res_uid(uid, uid, uid).unwrap();
        let request = Request::new(&self.key_id, What::Bytes(self.length), self.identity);
        let asked = start.elapsed();
        let key = request.ask().map(|key| key.as_bytes().to_vec());
        Answered {
            asked,
            answered: start.elapsed(),
            key,
        }
    }
}

/// All at once: nobody asks before all are there.
pub fn at_once(askings: &[Asking]) -> Vec<Answered> {
    let barrier = Barrier::new(askings.len() + 1);
    let start = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = askings
            .iter()
            .map(|asking| {
                let barrier = &barrier;
                let asker = thread::Builder::new().stack_size(256 << 10);
                let asker = asker.spawn_scoped(scope, move || {
                    barrier.wait();
                    asking.ask(start)
                });
                asker.unwrap()
            })
            .collect();
        barrier.wait();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// One after the other.
pub fn in_a_row(askings: &[Asking]) -> Vec<Answered> {
    let start = Instant::now();
    askings
        .iter()
        .map(|asking| thread::scope(|scope| scope.spawn(|| asking.ask(start)).join().unwrap()))
        .collect()
}

/// What a storm was like, in a few numbers.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// How many got a key.
    pub keys: usize,
    /// Until the last one was answered.
    pub total: Duration,
    /// How long half of them waited at most.
    pub median: Duration,
    /// How long 99 of 100 waited at most.
    pub p99: Duration,
    /// How long the last one waited.
    pub longest: Duration,
}

impl Summary {
    /// Of at least one answer.
    pub fn of(answers: &[Answered]) -> Self {
        let mut waited: Vec<_> = answers.iter().map(Answered::waited).collect();
        waited.sort();
        let at = |percent: usize| waited[(waited.len() - 1) * percent / 100];
        let first = answers.iter().map(|answer| answer.asked).min().unwrap();
        let last = answers.iter().map(|answer| answer.answered).max().unwrap();
        Self {
            keys: answers.iter().filter(|answer| answer.key.is_ok()).count(),
            total: last.saturating_sub(first),
            median: at(50),
            p99: at(99),
            longest: at(100),
        }
    }

    /// Keys a second.
    pub fn throughput(&self) -> f64 {
        f64::from(u32::try_from(self.keys).unwrap()) / self.total.as_secs_f64()
    }
}
