// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One module for each subcommand.

pub(crate) mod guest;
pub(crate) mod proxy;
pub(crate) mod swtpm;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use tdk_simulator::StateSource;

/// The state that was asked for with `--state`.
fn source(state: Option<PathBuf>) -> Result<StateSource, String> {
    let Some(dir) = state else {
        return Ok(StateSource::Fresh);
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .map_err(|error| format!("making the directory {}: {error}", dir.display()))?;
    Ok(StateSource::InPlace(dir))
}
