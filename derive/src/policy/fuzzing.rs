// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What `tests/fuzz` looks at in here.

use super::parse::parse;
use super::plain::plain;
use super::{Facts, Policy, PolicyError};

/// A file that is read as a plain one is the same to the general reader, however little of it is
/// read at once.
pub(crate) fn plain_is_the_same(text: &str) {
    for size in [64, 4096] {
        if let Some(read) = plain(text.as_bytes(), &mut vec![0; size], None) {
            assert_eq!(Ok(read), parse(text, true, None));
        }
    }
}

/// What [`super::PolicyFiles::read_for`] makes of a file.
pub(crate) fn parse_for(text: &str, facts: &Facts) -> Result<Policy, PolicyError> {
    Policy::parse_for(text, Some(facts))
}
