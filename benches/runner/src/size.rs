// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How much is measured.

use serde::{Deserialize, Serialize};

/// A run of minutes for the page, one to see where one stands, one to see that
/// everything works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Size {
    Full,
    Quick,
    Test,
}

impl Size {
    /// The number for this size.
    pub(crate) fn of<T>(self, full: T, quick: T, test: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
            Self::Test => test,
        }
    }
}
