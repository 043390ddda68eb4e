// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Keeping a process's memory to itself.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// For a program that handles keys to call first: no core dumps, and
/// `/proc/<pid>` for nobody but root.
///
/// Both steps are allowed to every process, so there is nothing to report.
pub fn no_core_dumps() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
