// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The operator's command.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod backend;
mod derive;
mod det_keygen;
mod docs;
mod doctor;
mod enroll;
mod install;
mod owner_auth;
mod pairs;
mod place;
mod policy;
mod request;
mod simulator;
mod ssh_agent;
