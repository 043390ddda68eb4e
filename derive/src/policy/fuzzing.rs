// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What `tests/fuzz` looks at in here.

use super::{parse, plain};

/// A file that is read as a plain one is the same to the general reader.
pub(crate) fn plain_is_the_same(text: &str) {
    if let Some(plain) = plain::plain(text) {
        let whole = parse::whole(text);
        let whole = whole.map(|whole| format!("{whole:?}"));
        assert_eq!(Ok(format!("{plain:?}")), whole);
    }
}
