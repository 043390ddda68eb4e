// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Requests on the live kernel, all the way and back. They need root, and add
//! lines to /etc/request-key.d while they run: see `tdk_tests::live`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod attacks;
mod completion;
mod faults;
mod identity;
mod load;
mod memory;
mod policy;
mod record;
mod request;
mod requests;
mod sandbox;
mod session;
mod slots;
mod tpms;
