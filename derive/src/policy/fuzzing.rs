// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What `tests/fuzz` looks at in here.

use super::{parse, plain};

/// A file that is read as a plain one is the same to the general reader.
pub(crate) fn plain_is_the_same(text: &str) {
    let all = |file: parse::File| (file.default, file.rules.of(text.into()));
    if let Some(plain) = plain::plain(text) {
        assert_eq!(Ok(all(plain)), parse::whole(text).map(all));
    }
}
