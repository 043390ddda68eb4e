// SPDX-License-Identifier: Apache-2.0 OR MIT
use super::*;
use crate::request::Request;

#[test]
fn paths() {
    let longest = [b"/", &[b'x'; 4094][..]].concat();
    let good = [
        &b"/x"[..],
        b"/a/..b/c.",
        b"/\xff \n",
        b"/x (deleted)/y",
        &longest,
    ];
    for path in good {
        assert_eq!(Subject::path(path), Ok(Subject::Path(path.to_vec())));
        assert_eq!(Subject::cgroup(path), Ok(Subject::Cgroup(path.to_vec())));
    }
    let too_long = [&longest[..], b"x"].concat();
    for path in [
        &b""[..],
        b"/",
        b"x",
        b"//x",
        b"/x/",
        b"/x//y",
        b"/.",
        b"/./x",
        b"/x/..",
        b"/x/../y",
        b"/x\0",
        b"/x (deleted)",
        &too_long,
    ] {
        assert!(Subject::path(path).is_err(), "{}", path.escape_ascii());
        assert!(Subject::cgroup(path).is_err(), "{}", path.escape_ascii());
    }
}

#[test]
fn verity_digests() {
    for (algorithm, length, good) in [
        (1, 32, true),
        (2, 64, true),
        (1, 64, false),
        (2, 32, false),
        (1, 0, false),
        (0, 32, false),
        (3, 32, false),
    ] {
        let subject = Subject::verity(algorithm, &vec![7; length]);
        assert_eq!(subject.is_ok(), good, "{algorithm} {length}");
    }
}

#[test]
fn realms_and_uids() {
    Realm::new(&[0xFF; 64]).unwrap();
    assert_eq!(Realm::new(&[b'r'; 65]), Err(IdentityError::Realm(65)));
    for scope in [Scope::Uid, Scope::Any] {
        let identity = |uid| Identity::new(Subject::Id, scope, uid, Realm::default());
        identity(u32::MAX - 1).unwrap();
        assert_eq!(identity(u32::MAX), Err(IdentityError::Uid));
    }
}

#[test]
fn who_is_identified_is_who_was_asked_for() {
    let request = Request::parse(b"user", b"tpm2:derived:x", b"32 csum").unwrap();
    let error = request.identify(Subject::Id, 0, &Realm::default());
    assert_eq!(
        error.unwrap_err(),
        IdentityError::WrongKind {
            asked: Kind::Csum,
            found: Kind::Id
        }
    );
}
