// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether a process runs what the kernel calls its executable.
//!
//! prctl(PR_SET_MM_MAP) exchanges the link `/proc/<pid>/exe`, but not while the old
//! executable is mapped. So who has done it has nothing of the other file mapped where
//! the kernel once put the program, unless it has taken that trouble, too.

use rustix::fs::{AtFlags, major, minor, statat};
use rustix::io::Errno;

use super::auxv::Auxv;
use super::{Asker, AskerError, Version};

/// A mapping may be split or joined between two looks at it.
const LOOKS: usize = 3;

impl Asker {
    /// Whether the file is mapped where its program headers or its entry point were
    /// when the program was started.
    ///
    /// One of both is enough: some programs replace their code by other pages, and
    /// leave the headers; and who forges can have both.
    pub(super) fn has_mapped(&self, file: &Version, auxv: Auxv) -> Result<bool, AskerError> {
        for _ in 0..LOOKS {
            let maps = self.read_bytes("maps")?;
            let mut mappings = auxv
                .addresses()
                .filter_map(|address| mapping(&maps, address));
            if mappings.any(|mapping| self.is_of(&mapping, file)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_of(&self, mapping: &Mapping, file: &Version) -> bool {
        let link = format!("map_files/{:x}-{:x}", mapping.start, mapping.end);
        match statat(&self.directory, link, AtFlags::empty()) {
            Ok(stat) => (stat.st_dev, stat.st_ino) == (file.device, file.inode),
            // Root alone may follow it. The numbers in "maps" are those of stat(2) but in
            // overlays and btrfs.
            Err(Errno::PERM | Errno::ACCESS) => {
                let device = (major(file.device), minor(file.device));
                (mapping.device, mapping.inode) == (device, file.inode)
            }
            Err(_) => false,
        }
    }
}

/// A line of `/proc/<tid>/maps`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    start: u64,
    end: u64,
    device: (u32, u32),
    inode: u64,
}

impl Mapping {
    /// `START-END MODE OFFSET MAJOR:MINOR INODE NAME`, all but the inode in hex.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line
            .split(|byte| *byte == b' ')
            .map(|word| std::str::from_utf8(word).ok());
        let (start, end) = words.next()??.split_once('-')?;
        let (major, minor) = words.nth(2)??.split_once(':')?;
        Some(Self {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            device: (
                u32::from_str_radix(major, 16).ok()?,
                u32::from_str_radix(minor, 16).ok()?,
            ),
            inode: words.next()??.parse().ok()?,
        })
    }
}

/// The mapping that an address is in.
pub(super) fn mapping(maps: &[u8], address: u64) -> Option<Mapping> {
    let mut mappings = maps.split(|byte| *byte == b'\n').filter_map(Mapping::parse);
    mappings.find(|mapping| (mapping.start..mapping.end).contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps() {
        let maps = b"00400000-00401000 r--p 00000000 fe:01 7                  /a b\nx\n\
            7f0000000000-7f0000002000 r-xp 00000000 00:00 0 \n";
        let first = (0x40_0000, 0x40_1000, (0xfe, 1), 7);
        let second = (0x7f00_0000_0000, 0x7f00_0000_2000, (0, 0), 0);
        for (address, expected) in [
            (0x40_0000, Some(first)),
            (0x40_0fff, Some(first)),
            (0x40_1000, None),
            (0x7f00_0000_1000, Some(second)),
            (0, None),
        ] {
            let found = mapping(maps, address);
            let found = found.map(|m| (m.start, m.end, m.device, m.inode));
            assert_eq!(found, expected, "{address:x}");
        }
    }
}
