//! Tests of the simulated TPMs, with swtpm.

mod common;
mod lifecycle;
mod owner;
mod states;
mod tdk_sim;
