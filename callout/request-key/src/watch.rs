// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Signals: a request that is cut short is still answered.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::CapabilitySet;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::sandbox;

/// How long a signal waits for the TPM to be let go.
const GRACE: Duration = Duration::from_secs(2);

/// Enough to write to the log. All of it is looked at in the end, page by page.
const STACK: usize = 128 * 1024;

/// What the request's thread and the thread that waits for signals tell each
/// other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// One of the two has begun to complete the key; the other one must not.
    settled: Arc<AtomicBool>,
    /// The request's thread has a connection to the TPM.
    holding: Arc<AtomicBool>,
}

impl Watch {
    /// From now on, SIGTERM and its like wait for [`Watch::start`].
    pub(crate) fn signals() -> io::Result<Signals> {
        Signals::new([SIGTERM, SIGINT, SIGHUP, SIGQUIT])
    }

    /// From now on, they call `answer` and end the program, unless the key is being
    /// completed already.
    pub(crate) fn start(
        &self,
        mut signals: Signals,
        answer: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let watch = self.clone();
        thread::Builder::new()
            .name("signals".into())
            .stack_size(STACK)
            .spawn(move || {
                sandbox::keep(CapabilitySet::empty());
                tdk_sys::has_no_secrets();
                if signals.forever().next().is_some() && watch.settle() {
                    answer();
                    watch.end();
                }
            })?;
        Ok(())
    }

    /// Claims the completion of the key. True for the first who asks.
    pub(crate) fn settle(&self) -> bool {
        !self.settled.swap(true, Ordering::SeqCst)
    }

    /// Says whether there is a connection to the TPM.
    pub(crate) fn holding_tpm(&self, holding: bool) {
        self.holding.store(holding, Ordering::SeqCst);
    }

    /// Ends the program, leaving nothing in the TPM if that can be had soon.
    fn end(&self) -> ! {
        let start = Instant::now();
        while self.holding.load(Ordering::SeqCst) {
            if start.elapsed() > GRACE {
                tdk_sys::leave_files_to_a_child();
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        tdk_sys::end(ExitCode::FAILURE);
    }
}
