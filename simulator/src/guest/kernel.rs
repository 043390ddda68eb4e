// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernels that guests boot, and their modules.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::GuestError;

/// A kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Kernel {
    /// Debian's 6.1 for virtual machines, as `scripts/kernels.sh` fetches it.
    V6_1,
    /// Debian's 6.12 for virtual machines, as `scripts/kernels.sh` fetches it.
    #[default]
    V6_12,
    /// Another one: a directory with the image `vmlinuz` and, if it has any,
    /// its modules in `modules`, uncompressed.
    At(PathBuf),
}

impl Kernel {
    /// Those that `scripts/kernels.sh` fetches.
    pub const ALL: [Self; 2] = [Self::V6_1, Self::V6_12];

    fn directory(&self) -> PathBuf {
        let version = match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::At(directory) => return directory.clone(),
        };
        cache().join("kernels").join(version)
    }

    /// The kernel's image.
    ///
    /// # Errors
    ///
    /// [`GuestError::NoKernel`] if it has not been fetched.
    pub fn image(&self) -> Result<PathBuf, GuestError> {
        let image = self.directory().join("vmlinuz");
        if image.is_file() {
            return Ok(image);
        }
        Err(GuestError::NoKernel {
            kernel: self.clone(),
            image,
        })
    }

    /// Its modules.
    pub(crate) fn modules(&self) -> Result<Modules, GuestError> {
        Modules::in_directory(self.directory().join("modules"))
    }
}

/// `$XDG_CACHE_HOME/tpm-derived-keys`, as in `scripts/kernels.sh`.
pub(crate) fn cache() -> PathBuf {
    let named = env::var_os("XDG_CACHE_HOME").filter(|name| !name.is_empty());
    let base = named.map_or_else(
        || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    base.join("tpm-derived-keys")
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V6_1 => write!(f, "6.1"),
            Self::V6_12 => write!(f, "6.12"),
            Self::At(directory) => write!(f, "{}", directory.display()),
        }
    }
}

impl FromStr for Kernel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "6.1" => Ok(Self::V6_1),
            "6.12" => Ok(Self::V6_12),
            path if path.contains('/') => Ok(Self::At(path.into())),
            _ => Err("write 6.1, 6.12 or a directory (with a slash)".into()),
        }
    }
}

/// The modules of one kernel.
#[derive(Debug)]
pub(crate) struct Modules {
    directory: PathBuf,
    files: BTreeMap<String, PathBuf>,
    /// Text with the paths of those that are no files: they are built in.
    built_in: String,
}

impl Modules {
    fn in_directory(directory: PathBuf) -> Result<Self, GuestError> {
        let mut files = BTreeMap::new();
        if directory.is_dir() {
            collect(&directory, &mut files)
                .map_err(GuestError::path("listing the modules in", &directory))?;
        }
        let built_in = fs::read_to_string(directory.join("modules.builtin")).unwrap_or_default();
        Ok(Self {
            directory,
            files,
            built_in,
        })
    }

    /// Whether the module is a file, and not built in or missing.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.files.contains_key(&normal(name))
    }

    /// Adds a module's content, after that of those it needs, to those that
    /// are there.
    pub(crate) fn add(
        &self,
        name: &str,
        loaded: &mut Vec<(String, Vec<u8>)>,
    ) -> Result<(), GuestError> {
        let name = normal(name);
        if loaded.iter().any(|(other, _)| *other == name) || self.is_built_in(&name) {
            return Ok(());
        }
        let Some(path) = self.files.get(&name) else {
            return Err(GuestError::NoModule {
                name,
                directory: self.directory.clone(),
            });
        };
        let content = fs::read(path).map_err(GuestError::path("reading", path))?;
        for needed in needs(&content) {
            self.add(&needed, loaded)?;
        }
        loaded.push((name, content));
        Ok(())
    }

    fn is_built_in(&self, name: &str) -> bool {
        self.built_in
            .lines()
            .filter_map(|line| Path::new(line).file_stem()?.to_str())
            .any(|stem| normal(stem) == name)
    }
}

/// A module's name; its file may have hyphens for underscores.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

fn collect(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "ko") {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            files.insert(normal(&stem), path.clone());
        }
    }
    Ok(())
}

/// The modules that a module says it needs, in its section `.modinfo`, which
/// is a sequence of `name=value`, each with a NUL.
fn needs(content: &[u8]) -> Vec<String> {
    const FIELD: &[u8] = b"\0depends=";
    let Some(start) = content.windows(FIELD.len()).position(|at| at == FIELD) else {
        return Vec::new();
    };
    let rest = &content[start + FIELD.len()..];
    let value = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(value)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(normal)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_those_they_need() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |path: &str, content: &str| {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, content).expect("a file");
        };
        write(
            "kernel/a/top-one.ko",
            "\x7fELF\0license=GPL\0depends=left,right\0x",
        );
        write("kernel/b/left.ko", "\0depends=base-one\0");
        write("kernel/b/right.ko", "\0depends=base_one,inside\0");
        write("kernel/base_one.ko", "\0depends=\0");
        write("modules.builtin", "kernel/x/inside.ko\n");
        let modules = Modules::in_directory(directory.path().into()).expect("a directory");
        let mut loaded = Vec::new();
        modules.add("top_one", &mut loaded).expect("all there");
        modules.add("right", &mut loaded).expect("there already");
        let names: Vec<_> = loaded.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["base_one", "left", "right", "top_one"]);
        let error = modules.add("nonsense", &mut loaded).expect_err("none");
        assert!(error.to_string().contains("module nonsense"), "{error}");
    }

    #[test]
    fn names() {
        for kernel in Kernel::ALL {
            assert_eq!(kernel.to_string().parse(), Ok(kernel));
        }
        assert_eq!("./x".parse(), Ok(Kernel::At("./x".into())));
        "6.2".parse::<Kernel>().expect_err("none");
    }

    #[test]
    fn a_kernel_that_is_not_there() {
        let error = Kernel::At("/nonexistent".into()).image().expect_err("none");
        let text = error.to_string();
        assert!(
            text.contains("no /nonexistent/vmlinuz: name a directory"),
            "{text}"
        );
    }
}
