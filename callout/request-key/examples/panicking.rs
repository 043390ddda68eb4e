// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The callout with an error in it, for the tests: it panics instead of
//! serving.

fn main() -> std::process::ExitCode {
    tdk_request_key::main_with(|_| panic!("on purpose"))
}
