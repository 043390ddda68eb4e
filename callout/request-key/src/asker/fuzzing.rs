// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What `tests/fuzz` looks at in here.

use super::auxv::Auxv;
use super::facts::{gids, unit};
use super::mapped::mappings;
use super::mounts::not_roots_fuse;
use super::{cgroup, field, fsuid};

/// A file of a thread's directory in `/proc`, by all that read such files.
pub(crate) fn proc_files(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(uid) = fsuid(&text) {
        assert!(text.contains(&uid.to_string()));
    }
    let _ = field(&text, "TracerPid:", 0);
    let _ = gids(&text);
    let _ = unit(&text);
    let _ = mappings(data, Auxv::parse(data));
    let _ = mappings(data, Auxv::beginning_at(0x40_0fff));
    let _ = not_roots_fuse(&text, (0, 41));
    if let Some(path) = cgroup::v2_path(data) {
        assert!(!path.contains(&b'\n'));
    }
}
