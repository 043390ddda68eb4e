// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether a process runs what the kernel calls its executable.
//!
//! prctl(PR_SET_MM_MAP) exchanges the link `/proc/<pid>/exe`, but not while the old
//! executable is mapped. So who has done it has nothing of the other file mapped where
//! the kernel once put the program, unless it has taken that trouble, too.

use rustix::fs::{AtFlags, statat};

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
            let mut ranges = auxv.addresses().filter_map(|address| range(&maps, address));
            if ranges.any(|range| self.is_mapped_at(file, range)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_mapped_at(&self, file: &Version, (start, end): (u64, u64)) -> bool {
        // The numbers of files in "maps" are not those of stat(2) in overlays and btrfs.
        let link = format!("map_files/{start:x}-{end:x}");
        statat(&self.directory, link, AtFlags::empty())
            .is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (file.device, file.inode))
    }
}

/// The mapping that an address is in, by `/proc/<tid>/maps`.
fn range(maps: &[u8], address: u64) -> Option<(u64, u64)> {
    let mut ranges = maps.split(|byte| *byte == b'\n').filter_map(|line| {
        let end = line.iter().position(|byte| *byte == b' ')?;
        let (start, end) = std::str::from_utf8(&line[..end]).ok()?.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        number(start).zip(number(end))
    });
    ranges.find(|(start, end)| (*start..*end).contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let maps = b"00400000-00401000 r--p 00000000 fe:01 7   /a b\nx\n\
            7f0000000000-7f0000002000 r-xp 00000000 00:00 0 \n";
        for (address, expected) in [
            (0x40_0000, Some((0x40_0000, 0x40_1000))),
            (0x40_0fff, Some((0x40_0000, 0x40_1000))),
            (0x40_1000, None),
            (0x7f00_0000_1000, Some((0x7f00_0000_0000, 0x7f00_0000_2000))),
            (0, None),
        ] {
            assert_eq!(range(maps, address), expected, "{address:x}");
        }
    }
}
