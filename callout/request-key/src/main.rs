// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `/usr/sbin/key.tpm2_derived`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    tdk_request_key::main_with(tdk_request_key::serve)
}
