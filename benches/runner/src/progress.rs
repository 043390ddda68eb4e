// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How far it is.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// A line on the terminal that is written over; elsewhere one every ten seconds.
pub(crate) struct Progress {
    what: String,
    total: usize,
    shown: Option<Instant>,
}

impl Progress {
    pub(crate) fn new(what: impl Into<String>, total: usize) -> Self {
        Self {
            what: what.into(),
            total,
            shown: None,
        }
    }

    pub(crate) fn at(&mut self, done: usize) {
        let mut out = std::io::stderr();
        let terminal = out.is_terminal();
        let pause = Duration::from_millis(if terminal { 200 } else { 10_000 });
        if self.shown.is_some_and(|shown| shown.elapsed() < pause) {
            return;
        }
        self.shown = Some(Instant::now());
        let (start, end) = if terminal {
            ("\r\x1b[K", "")
        } else {
            ("", "\n")
        };
        let _ = write!(out, "{start}  {}: {done} of {}{end}", self.what, self.total);
        let _ = out.flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
    }
}
