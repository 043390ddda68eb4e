// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a key costs.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// Time of processors and time on the wall.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
}

impl Cost {
    /// Of what this process does, in all its threads.
    pub(crate) fn here<T>(work: impl FnOnce() -> T) -> (Self, T) {
        Self::of(UsageWho::RUSAGE_SELF, work)
    }

    /// Of a child process that is started and waited for meanwhile.
    pub(crate) fn of_child<T>(work: impl FnOnce() -> T) -> (Self, T) {
        Self::of(UsageWho::RUSAGE_CHILDREN, work)
    }

    fn of<T>(who: UsageWho, work: impl FnOnce() -> T) -> (Self, T) {
        let (before, wall) = (cpu(who), Instant::now());
        let result = work();
        let cost = Self {
            wall: wall.elapsed(),
            cpu: cpu(who).saturating_sub(before),
        };
        (cost, result)
    }
}

fn cpu(who: UsageWho) -> Duration {
    let usage = getrusage(who).expect("getrusage takes these");
    let duration = |time: TimeVal| {
        let seconds = u64::try_from(time.tv_sec()).expect("time has gone on");
        let micros = u64::try_from(time.tv_usec()).expect("microseconds count upwards");
        Duration::from_secs(seconds) + Duration::from_micros(micros)
    };
    duration(usage.user_time()) + duration(usage.system_time())
}
