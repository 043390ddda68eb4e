// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How long to wait for a TPM.

use std::time::{Duration, Instant};

/// Two limits: one for getting the TPM to oneself, one for keeping it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long to wait until others are done with it.
    pub turn: Duration,
    /// How long to hold it: connecting, all commands, and flushing.
    pub hold: Duration,
}

impl Default for Patience {
    /// 120 seconds for the turn, 10 seconds to hold.
    fn default() -> Self {
        Self {
            turn: Duration::from_mins(2),
            hold: Duration::from_secs(10),
        }
    }
}

/// The `hold` of a [`Patience`], running. Its last fifth is kept for flushing,
/// and half of that for a second try.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    pub(super) limit: Duration,
    start: Instant,
}

impl Deadline {
    pub(super) fn start(limit: Duration) -> Self {
        Self {
            limit,
            start: Instant::now(),
        }
    }

    /// Until when commands may take.
    pub(super) fn for_work(&self) -> Instant {
        self.start + self.limit * 8 / 10
    }

    /// Until when flushing may take.
    pub(super) fn for_flush(&self) -> Instant {
        self.start + self.limit * 9 / 10
    }

    /// Until when cleaning up may take.
    pub(super) fn for_cleanup(&self) -> Instant {
        self.start + self.limit
    }
}
