// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Root's quota of keys, according to `/proc/key-users`.
//!
//! A user pays 4 bytes of its own quota for the link to a key that belongs to
//! root, and root pays the key: up to 1293 bytes. Before that exhausts what root
//! has, users have to pay for their keys themselves.

/// Whether less than half of root's quota is used.
///
/// ```text
///     0:     9 8/8 3/1000000 80/25000000
/// ```
///
/// are the uid, references, keys and instantiated keys, and those that count: keys
/// of how many at most, bytes of how many at most.
pub(crate) fn has_room_for_more(key_users: &str) -> bool {
    let root = key_users
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(uid, _)| uid.trim() == "0");
    let Some((_, counts)) = root else {
        return false;
    };
    let quotas: Vec<&str> = counts.split_ascii_whitespace().skip(2).collect();
    quotas.len() == 2 && quotas.into_iter().all(is_less_than_half)
}

fn is_less_than_half(fraction: &str) -> bool {
    let parse = |number: &str| number.parse::<u64>().ok();
    fraction
        .split_once('/')
        .and_then(|(used, most)| Some(parse(used)? < parse(most)? / 2))
        .unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_keys_and_half_of_the_bytes() {
        let room = |counts: &str| {
            has_room_for_more(&format!(
                " 1000:     2 2/2 200/200 20000/20000\n    0:     9 8/8 {counts}\n"
            ))
        };
        assert!(room("3/1000000 80/25000000"));
        assert!(room("499999/1000000 12499999/25000000"));
        assert!(!room("500000/1000000 80/25000000"));
        assert!(!room("3/1000000 12500000/25000000"));
        for unclear in ["", "3/1000000", "3 80", "x/1000000 80/25000000", "-1/9 1/9"] {
            assert!(!room(unclear), "{unclear}");
        }
        assert!(!has_room_for_more(""));
        assert!(!has_room_for_more(" 1000:     2 2/2 2/200 20/20000\n"));
    }
}
