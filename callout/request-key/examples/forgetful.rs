// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The callout with an error in it, for the tests: it leaves a copy of each payload
//! in its memory, and does not wipe that in the end.

use tdk_request_key::{main_with, serve};

fn main() -> std::process::ExitCode {
    main_with(|call| {
        let payload = serve(call)?;
        std::mem::forget(payload.as_bytes().to_vec());
        Ok(payload)
    })
}
