// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How long the TPM takes for each command, without the program's own part: what the
//! simulator's proxy has seen between the two.

use std::time::Duration;

use tdk_simulator::Swtpm;
use tdk_simulator::proxy::{Proxy, What, command_name};

use crate::Result;

/// A command's name, and how long its answer took.
pub(crate) type Timed = (String, Duration);

/// A proxy, and how much of its record has been read.
pub(crate) struct Wire {
    proxy: Proxy,
    read: usize,
}

impl Wire {
    pub(crate) fn before(tpm: &Swtpm) -> Result<Self> {
        let proxy = Proxy::before(tpm).start()?;
        Ok(Self { proxy, read: 0 })
    }

    pub(crate) fn tcti(&self) -> String {
        self.proxy.tcti()
    }

    /// What there was since it was taken last.
    pub(crate) fn take(&mut self) -> Vec<Timed> {
        let events = self.proxy.events();
        let (mut timed, mut sent) = (Vec::new(), Duration::ZERO);
        for event in &events[self.read..] {
            match &event.what {
                What::Command(_) => sent = event.at,
                What::Answer(code, _) => {
                    timed.push((command_name(*code), event.at.saturating_sub(sent)));
                }
                _ => {}
            }
        }
        self.read = events.len();
        timed
    }
}
