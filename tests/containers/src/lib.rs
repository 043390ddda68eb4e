// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Software TPMs in containers, by testcontainers: [`swtpm`] is in place of
//! `tdk_simulator::Swtpm::builder`, and everything else is as there.
//!
//! `make test-containers` sees to a Docker and an image, and runs the tests.
#![forbid(unsafe_code)]

mod container;
mod docker;
mod owner;

use std::time::Duration;

use tdk_simulator::{Swtpm, SwtpmBuilder};

pub use container::Image;
pub use docker::Docker;

/// How long a start and a command may take: for a machine that is busy, and whose
/// Docker is.
const TIME_LIMIT: Duration = Duration::from_mins(1);

/// A software TPM in a container of the [image](Image::chosen) that the tests are run on.
pub fn swtpm() -> SwtpmBuilder {
    Swtpm::builder()
        .runner(Image::chosen())
        .time_limit(TIME_LIMIT)
}
