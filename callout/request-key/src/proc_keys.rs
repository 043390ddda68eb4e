// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who asked, according to `/proc/keys`.
//!
//! While a key U is under construction there is an authorisation key A, which
//! the kernel describes as `key:<U in hex> pid:<thread> ci:<length>`. Its line:
//!
//! ```text
//! 0cdc2027 I------     6 perm 1b010000     0     0 .request_ key:209d9046 pid:3084 ci:7
//! ```
//!
//! Descriptions of other keys stand in the same file as they are, newlines and
//! all, so anybody who can show us a key of theirs can show us a line of their
//! making. U's number is no secret (it is among request-key's arguments), but
//! A's is: only the asker's own user can see A. So a line has to begin with the
//! number of a key in our session keyring, where the kernel has put A. The true
//! line is always there too: more than one that fits means that somebody of the
//! same user plays tricks, and then nobody is believed.

/// What the file says about a key under construction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// The thread that waits for it.
    Thread(u32),
    /// Nobody: it is not under construction, or not visible from here.
    Nobody,
    /// Several lines claim it.
    Disputed,
}

/// Finds the thread that waits for key `serial`, whose authorisation key is one
/// of `candidates`.
pub(crate) fn asker_of(serial: i32, candidates: &[i32], proc_keys: &[u8]) -> Asker {
    // As the kernel writes it. There may be thousands of other lines.
    let candidates: Vec<_> = candidates.iter().map(|a| format!("{a:08x} ")).collect();
    let is_candidate = |line: &&[u8]| {
        let mut candidates = candidates.iter();
        candidates.any(|number| line.starts_with(number.as_bytes()))
    };
    let mut claims = proc_keys
        .split(|&byte| byte == b'\n')
        .filter(is_candidate)
        .filter_map(|line| claim(serial, line));
    match (claims.next(), claims.next()) {
        (None, _) => Asker::Nobody,
        (Some(thread), None) => Asker::Thread(thread),
        (Some(_), Some(_)) => Asker::Disputed,
    }
}

/// The thread that this line says waits for key `serial`.
fn claim(serial: i32, line: &[u8]) -> Option<u32> {
    let line = std::str::from_utf8(line).ok()?;
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    // serial, flags, usage, "perm" or a time, permissions, uid, gid, type (cut
    // to nine characters), key, pid, ci. A timeout takes the place of "perm".
    let [_, _, _, _, _, _, _, ".request_", key, pid, ci] = words[..] else {
        return None;
    };
    ci.strip_prefix("ci:")?;
    let key = u32::from_str_radix(key.strip_prefix("key:")?, 16).ok()?;
    (key.cast_signed() == serial).then_some(())?;
    pid.strip_prefix("pid:")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const U: i32 = 0x0151_7d15;
    const A: i32 = 0x1207_c26e;
    const OTHERS: &str = "\
06e19312 I------     1 perm 0f0b0000     0     0 keyring   .blacklist: empty
0cdc2027 I------     6 perm 1b010000     0     0 .request_ key:209d9046 pid:3084 ci:7
1a5b89da I--Q---     8 perm 3f030000     0     0 keyring   _req.547196998: 1
209d9046 ---QU--     3 perm 3f010000     0     0 user      tpm2:derived:d b;x
";
    const OURS: &str =
        "1207c26e I------    10 perm 1b010000     0     0 .request_ key:1517d15 pid:270 ci:2\n";

    fn asker(text: &str) -> Asker {
        asker_of(U, &[A], text.as_bytes())
    }

    #[test]
    fn the_line_of_that_key() {
        assert_eq!(asker(&format!("{OURS}{OTHERS}")), Asker::Thread(270));
        assert_eq!(asker(&format!("{OTHERS}{OURS}")), Asker::Thread(270));
    }

    #[test]
    fn nobody() {
        assert_eq!(asker(""), Asker::Nobody);
        assert_eq!(asker(OTHERS), Asker::Nobody);
    }

    #[test]
    fn a_line_from_a_description_gets_nobody_a_key() {
        let planted = "2b2b2b2b I--Q---     1 perm 3f3f3f3f  1000  1000 user      x\n\
             1207c26e I------    10 perm 1b010000     0     0 .request_ key:1517d15 pid:1 ci:2\n";
        assert_eq!(asker(&format!("{planted}{OURS}")), Asker::Disputed);
        assert_eq!(asker(&format!("{OURS}{planted}")), Asker::Disputed);
        // Not even a repetition of the truth.
        assert_eq!(asker(&format!("{OURS}{OURS}")), Asker::Disputed);
    }

    #[test]
    fn who_does_not_know_the_authorisation_key_can_not_even_dispute() {
        let planted = "2b2b2b2b I--Q---     1 perm 3f3f3f3f  1000  1000 user      x\n\
             1207c26f I------    10 perm 1b010000     0     0 .request_ key:1517d15 pid:1 ci:2\n";
        assert_eq!(asker(&format!("{planted}{OURS}")), Asker::Thread(270));
        assert_eq!(asker(planted), Asker::Nobody);
    }

    #[test]
    fn lines_that_only_look_like_it() {
        for line in [
            "key:1517d15 pid:270 ci:2",
            "1207c26e I------ 10 perm 1b010000 0 0 user key:1517d15 pid:270 ci:2",
            "1207c26e I------ 10 perm 1b010000 0 0 user .request_ key:1517d15 pid:270 ci:2",
            "1207c26e I------ 10 perm 1b010000 0 0 .request_ key:1517d15 pid: ci:2",
            "1207c26e I------ 10 perm 1b010000 0 0 .request_ key:1517d15 pid:270",
            "1207c26e I------ 10 perm 1b010000 0 0 .request_ key:51517d15 pid:270 ci:2",
        ] {
            assert_eq!(asker(line), Asker::Nobody, "{line}");
        }
        assert_eq!(asker_of(U, &[A], b"\xff\xfe\n\xff"), Asker::Nobody);
    }
}
