// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The callout as it is but for one thing, for the tests: it ends as other programs
//! do. What it has not freed stays in its memory, which is not locked either.

use std::alloc::System;

use zeroizing_alloc::ZeroAlloc;

#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> std::process::ExitCode {
    tdk_request_key::main_with(tdk_request_key::serve)
}
