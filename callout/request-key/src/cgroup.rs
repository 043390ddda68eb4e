// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `/proc/<tid>/cgroup`, as cgroups(7) describes it: one line a hierarchy,
//! `NUMBER:CONTROLLERS:PATH`, that of version 2 being `0::PATH`.

/// The path in the version 2 hierarchy, if there is one. Names of cgroups have no
/// newlines: the kernel refuses them.
pub(crate) fn v2_path(content: &[u8]) -> Option<&[u8]> {
    content
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"0::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let unified: &[u8] = b"0::/system.slice/nginx.service\n";
        assert_eq!(v2_path(unified), Some(&b"/system.slice/nginx.service"[..]));
        // Both versions, as systemd calls "hybrid".
        let hybrid: &[u8] = b"12:pids:/a\n1:name=systemd:/b\n0::/c d:0::/e\n";
        assert_eq!(v2_path(hybrid), Some(&b"/c d:0::/e"[..]));
        assert_eq!(v2_path(b"0::/\n"), Some(&b"/"[..]));
        let version_1: &[u8] = b"10:memory:/0::/x\n1:name=systemd:/\n";
        assert_eq!(v2_path(version_1), None);
        assert_eq!(v2_path(b""), None);
    }
}
