// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Software TPMs for the tests, benchmarks and demonstration of
//! tpm-derived-keys.
//!
//! A [`Swtpm`] is one `swtpm` process with a state of its own. It answers
//! commands when [`start`](SwtpmBuilder::start) returns, and it is gone, with
//! its sockets and its temporary directory, when the value is dropped.
//!
//! ```
//! use tdk_simulator::{StateSource, Swtpm};
//!
//! let mut tpm = Swtpm::builder().start()?;
//! println!("give this to a TSS: {}", tpm.tcti());
//!
//! // A reboot: the same TPM at the same address.
//! tpm.restart()?;
//! assert!(tpm.transient_handles()?.is_empty());
//!
//! // A second TPM with the same seeds.
//! let twin = Swtpm::builder()
//!     .state(StateSource::CopyOf(tpm.state_dir().to_owned()))
//!     .start()?;
//! assert_ne!(tpm.tcti(), twin.tcti());
//!
//! twin.stop()?;
//! tpm.stop()?;
//! # Ok::<(), tdk_simulator::SimError>(())
//! ```
//!
//! Whole machines with such a TPM as their device are in [`guest`]; slow, busy and
//! broken TPMs in [`proxy`].
//!
//! # One connection at a time
//!
//! swtpm serves one connection and lets two more wait. A program that keeps
//! its connection open blocks every other one, so nothing in this crate does:
//! each command has a connection of its own.
//!
//! # Processes that are left behind
//!
//! Destructors do not run in a process that is killed. swtpm is therefore in
//! the process group of its caller, unless
//! [`own_process_group`](SwtpmBuilder::own_process_group) says otherwise: a
//! Ctrl-C in the terminal ends both.

mod address;
mod commands;
mod error;
pub mod guest;
mod ports;
mod process;
pub mod proxy;
mod runner;
mod state;
mod swtpm;
mod wire;

pub use address::Endpoint;
pub use error::SimError;
pub use runner::{Place, Runner, Running};
pub use state::{State, StateSource};
pub use swtpm::{Swtpm, SwtpmBuilder};
