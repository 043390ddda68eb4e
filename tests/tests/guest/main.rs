// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Requests in virtual machines, with what is shipped installed as it is
//! shipped: other kernels, real TPM devices, real reboots.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod boundaries;
mod disks;
mod doctor;
mod golden;
mod hang;
mod identity;
mod machine;
mod packages;
mod services;
mod session;
mod signing;
mod ssh;
mod storm;
mod systemd;
mod uses;
