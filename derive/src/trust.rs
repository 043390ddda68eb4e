// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether anybody but root could change what a path leads to.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// As many symbolic links as the kernel follows.
const LINKS: usize = 40;

const STICKY: u32 = 0o1000;

/// A file, directory or link on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    path: PathBuf,
    uid: u32,
    mode: u32,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    Link,
    Other,
}

/// Where somebody could.
#[derive(Debug, PartialEq, Eq)]
pub struct WeakSpot {
    path: PathBuf,
    how: How,
}

#[derive(Debug, PartialEq, Eq)]
enum How {
    Belongs(u32),
    Writable(u32),
}

impl WeakSpot {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        let path = self.path.display();
        match self.how {
            How::Belongs(_) => format!("chown root {path}"),
            How::Writable(_) => format!("chmod go-w {path}"),
        }
    }
}

impl fmt::Display for WeakSpot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.how {
            How::Belongs(uid) => write!(f, "{path} belongs to uid {uid}"),
            How::Writable(mode) => {
                write!(f, "others than root can write {path} (mode {mode:04o})")
            }
        }
    }
}

/// Everything that is passed on the way from `/` to what `path` leads to, through
/// all links. A path that begins elsewhere begins in the working directory.
///
/// # Errors
///
/// What the system says of a step or of the working directory, or that there are more links than the kernel
/// follows.
pub fn way_to(path: &Path) -> io::Result<Vec<Step>> {
    let mut place = PathBuf::from("/");
    let mut steps = vec![step(&place)?];
    let mut left = names(&std::path::absolute(Path::new(".").join(path))?);
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            place.pop();
            continue;
        }
        let next = place.join(&name);
        let step = step(&next)?;
        if step.kind == Kind::Link {
            links += 1;
            if links > LINKS {
                return Err(io::Error::other("too many symbolic links"));
            }
            let target = fs::read_link(&next)?;
            if target.is_absolute() {
                place = PathBuf::from("/");
            }
            let mut before = names(&target);
            before.append(&mut left);
            left = before;
        } else {
            place = next;
        }
        steps.push(step);
    }
    Ok(steps)
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

fn step(path: &Path) -> io::Result<Step> {
    let metadata = fs::symlink_metadata(path)?;
    let kind = match metadata.file_type() {
        file if file.is_dir() => Kind::Directory,
        file if file.is_symlink() => Kind::Link,
        _ => Kind::Other,
    };
    Ok(Step {
        path: path.into(),
        uid: metadata.uid(),
        mode: metadata.mode() & 0o7777,
        kind,
    })
}

/// The first place where somebody but root could change something.
pub fn weak_spot(way: &[Step]) -> Option<WeakSpot> {
    weak_spot_to(way, 0)
}

/// The same, to a reader who trusts themselves as well.
pub fn weak_spot_to(way: &[Step], reader: u32) -> Option<WeakSpot> {
    let at = |step: &Step, how| WeakSpot {
        path: step.path.clone(),
        how,
    };
    way.iter().find_map(|step| {
        if step.uid != 0 && step.uid != reader {
            return Some(at(step, How::Belongs(step.uid)));
        }
        let protected = match step.kind {
            // A link's own mode means nothing.
            Kind::Link => true,
            // Only owners remove what is in it, and they are looked at.
            Kind::Directory => step.mode & STICKY != 0,
            Kind::Other => false,
        };
        (!protected && step.mode & 0o022 != 0).then(|| at(step, How::Writable(step.mode)))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn passed(way: &[Step]) -> Vec<&Path> {
        way.iter().map(|step| step.path.as_path()).collect()
    }

    #[test]
    fn through_all_links() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "").unwrap();
        symlink("../a/./b", root.join("a/link")).unwrap();
        symlink(root.join("a/link/file"), root.join("b")).unwrap();
        let way = way_to(&root.join("b")).unwrap();
        let before = root.components().count();
        let expected: Vec<_> = root
            .ancestors()
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .map(Path::to_owned)
            .chain(["b"].map(|name| root.join(name)))
            .collect();
        assert_eq!(passed(&way)[..=before], expected);
        // The link is absolute: from the root again, through the other link.
        let last = ["a", "a/link", "a", "a/b", "a/b/file"].map(|name| root.join(name));
        assert_eq!(passed(&way)[way.len() - last.len()..], last);

        symlink("loop", root.join("loop")).unwrap();
        way_to(&root.join("loop")).unwrap_err();
        way_to(&root.join("none")).unwrap_err();
    }

    #[test]
    fn from_the_working_directory() {
        let here = std::env::current_dir().unwrap();
        for path in ["Cargo.toml", "./src/../Cargo.toml", ""] {
            let way = way_to(&here.join(path)).unwrap();
            assert_eq!(way_to(Path::new(path)).unwrap(), way);
        }
    }

    #[test]
    fn who_could_change_it() {
        let step = |path: &str, uid, mode, kind| Step {
            path: path.into(),
            uid,
            mode,
            kind,
        };
        let slash = || step("/", 0, 0o755, Kind::Directory);
        for (second, third, expected) in [
            ((0, 0o755), (0, 0o755), None),
            ((0, 0o1777), (0, 0o755), None),
            (
                (0, 0o777),
                (0, 0o755),
                Some("others than root can write /d (mode 0777); chmod go-w /d"),
            ),
            (
                (0, 0o1777),
                (7, 0o755),
                Some("/d/f belongs to uid 7; chown root /d/f"),
            ),
            (
                (0, 0o755),
                (0, 0o775),
                Some("others than root can write /d/f (mode 0775); chmod go-w /d/f"),
            ),
            (
                (5, 0o755),
                (7, 0o755),
                Some("/d belongs to uid 5; chown root /d"),
            ),
        ] {
            let way = [
                slash(),
                step("/d", second.0, second.1, Kind::Directory),
                step("/d/f", third.0, third.1, Kind::Other),
            ];
            let found = weak_spot(&way).map(|spot| format!("{spot}; {}", spot.remedy()));
            assert_eq!(found.as_deref(), expected);
        }
        let link = [slash(), step("/l", 0, 0o777, Kind::Link)];
        assert_eq!(weak_spot(&link), None);
        let link = [slash(), step("/l", 1, 0o777, Kind::Link)];
        assert!(weak_spot(&link).is_some());
        assert_eq!(weak_spot_to(&link, 1), None);
        assert!(weak_spot_to(&link, 2).is_some());
    }
}
