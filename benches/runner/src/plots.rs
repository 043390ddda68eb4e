// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The pictures of a run.

use std::fs;
use std::path::Path;

use crate::Result;
use crate::run::Run;
use crate::size::Size;

mod bars;
mod breakdown;
mod chips;
mod concurrency;
mod lines;
mod many_keys;

/// What is drawn, and where.
pub(crate) struct Picture {
    pub(crate) file: &'static str,
    pub(crate) title: &'static str,
    /// Whether the run had what it takes.
    draw: fn(&Run, &Path) -> Result<bool>,
}

pub(crate) const ALL: [Picture; 4] = [
    Picture {
        file: "one-request.svg",
        title: "What one request takes, and what of it",
        draw: breakdown::draw,
    },
    Picture {
        file: "askers-at-once.svg",
        title: "Requests a second, and how long they take, over askers at once",
        draw: concurrency::draw,
    },
    Picture {
        file: "many-keys.svg",
        title: "Time for a key, over the number of keys of one identity",
        draw: many_keys::draw,
    },
    Picture {
        file: "chips.svg",
        title: "What one request takes on the latencies of real chips",
        draw: chips::draw,
    },
];

/// All of them, into this directory.
pub(crate) fn draw(run: &Run, directory: &Path) -> Result<()> {
    for picture in ALL {
        let file = directory.join(picture.file);
        if !(picture.draw)(run, &file)? {
            if run.size == Size::Full {
                return Err(format!("the run lacks what {} takes", picture.file).into());
            }
            // None is better than another run's.
            let _ = fs::remove_file(&file);
        }
    }
    Ok(())
}
