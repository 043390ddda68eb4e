// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the simulated TPMs, with swtpm.

mod common;
mod lifecycle;
mod owner;
mod proxy;
mod states;
mod tdk_sim;
