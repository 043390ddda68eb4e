// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `/usr/sbin/key.tpm2_derived`.
#![forbid(unsafe_code)]

use std::alloc::System;

use zeroizing_alloc::ZeroAlloc;

/// Wipes what is freed; what is not, and stacks, at the end.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() {
    tdk_sys::run_and_wipe(|| tdk_request_key::main_with(tdk_request_key::serve))
}
