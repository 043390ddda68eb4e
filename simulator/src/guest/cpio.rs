// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The archive that a kernel unpacks as its first file system: cpio's "newc"
//! format (`Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! Written here because a directory to run cpio(1) on would have to be made as
//! root, for its owners and devices. The same content gives the same bytes.

use std::collections::BTreeMap;

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// Files by their paths. All of them are root's, and from 1970.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    // In this order a directory comes before what is in it.
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    mode: u32,
    device: (u32, u32),
    content: Vec<u8>,
}

impl Archive {
    /// A directory, with those it is in.
    pub(crate) fn directory(&mut self, path: &str, mode: u32) {
        self.insert(path, DIRECTORY | mode, (0, 0), Vec::new());
    }

    /// A file, in place of one that is there.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) {
        self.insert(path, FILE | mode, (0, 0), content.into());
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.insert(path, LINK | 0o777, (0, 0), target.into());
    }

    /// A character device.
    pub(crate) fn device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.insert(path, CHARACTER_DEVICE | mode, (major, minor), Vec::new());
    }

    /// Whether there is something of that name.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.entries.contains_key(path.trim_matches('/'))
    }

    fn insert(&mut self, path: &str, mode: u32, device: (u32, u32), content: Vec<u8>) {
        let path = path.trim_matches('/');
        for (slash, _) in path.match_indices('/') {
            self.entries
                .entry(path[..slash].to_owned())
                .or_insert_with(|| Entry {
                    mode: DIRECTORY | 0o755,
                    device: (0, 0),
                    content: Vec::new(),
                });
        }
        let entry = Entry {
            mode,
            device,
            content,
        };
        self.entries.insert(path.to_owned(), entry);
    }

    /// The archive's bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, (path, entry)) in (1..).zip(&self.entries) {
            write(&mut bytes, number, path, entry);
        }
        let end = Entry {
            mode: 0,
            device: (0, 0),
            content: Vec::new(),
        };
        write(&mut bytes, 0, "TRAILER!!!", &end);
        bytes
    }
}

fn write(bytes: &mut Vec<u8>, number: u32, path: &str, entry: &Entry) {
    let length = |length: usize| u32::try_from(length).expect("files here are small");
    let (major, minor) = entry.device;
    let fields = [
        number,
        entry.mode,
        0, // uid
        0, // gid
        1, // links
        0, // time of modification
        length(entry.content.len()),
        0, // the device it is on
        0,
        major,
        minor,
        length(path.len() + 1),
        0, // checksum, in the other format only
    ];
    bytes.extend(b"070701");
    for field in fields {
        bytes.extend(format!("{field:08X}").into_bytes());
    }
    bytes.extend(path.as_bytes());
    bytes.push(0);
    pad(bytes);
    bytes.extend(&entry.content);
    pad(bytes);
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_to_the_byte() {
        let mut archive = Archive::default();
        archive.file("/a", 0o644, "hello");
        let file = "070701\
                    00000001000081A400000000000000000000000100000000\
                    0000000500000000000000000000000000000000\
                    0000000200000000a\0hello\0\0\0";
        let end = "070701\
                   00000000000000000000000000000000000000010000000000000000\
                   00000000000000000000000000000000\
                   0000000B00000000TRAILER!!!\0\0\0\0";
        assert_eq!(
            String::from_utf8(archive.to_bytes()).expect("ASCII"),
            format!("{file}{end}")
        );
    }

    #[test]
    fn directories_come_first_whatever_the_order() {
        let mut archive = Archive::default();
        archive.file("/etc/a-b/x", 0o644, "");
        archive.file("/etc/a/b", 0o644, "");
        archive.link("/etc/a/c", "b");
        archive.directory("/etc/a", 0o700);
        archive.device("/dev/console", 0o600, 5, 1);
        let paths: Vec<_> = archive.entries.keys().map(String::as_str).collect();
        assert_eq!(
            paths,
            [
                "dev",
                "dev/console",
                "etc",
                "etc/a",
                "etc/a-b",
                "etc/a-b/x",
                "etc/a/b",
                "etc/a/c"
            ]
        );
        assert_eq!(archive.entries["etc/a"].mode, DIRECTORY | 0o700);
        assert!(archive.has("/etc/a/c") && !archive.has("/etc/c"));
    }
}
