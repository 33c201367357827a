//! How much memory the process may use: the limits of its control groups, and the machine's memory.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Without a limit, version 1 shows the largest number of pages that it can count.
const UNLIMITED_V1: u64 = 1 << 62;

/// Where the kernel shows them.
const CGROUPS: &str = "/sys/fs/cgroup";
const OWN_CGROUPS: &str = "/proc/self/cgroup";
const MACHINE: &str = "/proc/meminfo";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemoryLimit {
    pub(super) bytes: u64,
    /// Whether the machine has no more, and no control group sets less.
    pub(super) is_of_machine: bool,
}

/// `None` where it cannot be found out, as on other systems than Linux.
pub(super) fn read() -> Option<MemoryLimit> {
    let text = |path| fs::read_to_string(path).unwrap_or_default();
    smallest(&text(OWN_CGROUPS), Path::new(CGROUPS), &text(MACHINE))
}

/// `own_cgroups`: a line `ID:CONTROLLERS:PATH` for each hierarchy that the process is in; the one of
/// version 2 has no controllers.
///
/// <https://man7.org/linux/man-pages/man7/cgroups.7.html>
fn smallest(own_cgroups: &str, root: &Path, meminfo: &str) -> Option<MemoryLimit> {
    let groups = own_cgroups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or_default(), parts.next());
        let path = Path::new(path.unwrap_or("/"));
        if controllers.is_empty() {
            limits_of(root, path, "memory.max")
        } else if controllers.split(',').any(|it| it == "memory") {
            limits_of(&root.join("memory"), path, "memory.limit_in_bytes")
        } else {
            Vec::new()
        }
    });
    let of_groups = groups.filter(|bytes| *bytes < UNLIMITED_V1).min();
    let of_machine = total(meminfo);
    let bytes = of_groups.into_iter().chain(of_machine).min()?;
    Some(MemoryLimit {
        bytes,
        is_of_machine: of_groups.is_none_or(|limit| bytes < limit),
    })
}

/// The limits of a group and of all above it: each applies. In a container the path may be
/// that of the host, and its own group is the root.
fn limits_of(root: &Path, group: &Path, file: &str) -> Vec<u64> {
    let names = group.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => {
            None
        }
    });
    let group: PathBuf = names.collect();
    let groups = group.ancestors().map(|group| root.join(group).join(file));
    // `max` is not a number.
    groups
        .filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok())
        .collect()
}

/// `MemTotal:       16309416 kB`
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|it| it.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:        4096 kB\nMemFree:  1 kB\n";

    struct Groups(PathBuf);

    impl Groups {
        fn new(files: &[(&str, &str)]) -> Self {
            let name = format!("windlass-cgroups-{}", uuid::Uuid::new_v4());
            let root = std::env::temp_dir().join(name);
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }
    }

    impl Drop for Groups {
        fn drop(&mut self) {
            // A directory that remains does no harm.
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[track_caller]
    fn check(files: &[(&str, &str)], own: &str, bytes: u64, is_of_machine: bool) {
        let groups = Groups::new(files);
        let limit = MemoryLimit {
            bytes,
            is_of_machine,
        };
        assert_eq!(smallest(own, &groups.0, MEMINFO), Some(limit));
    }

    #[test]
    fn the_smallest_limit_of_a_group_and_those_above_it_applies() {
        let nested = [
            ("a/b/memory.max", "max\n"),
            ("a/memory.max", "1048576\n"),
            ("memory.max", "2097152\n"),
        ];
        check(&nested, "0::/a/b\n", 1_048_576, false);
        check(&nested, "0::/\n", 2_097_152, false);
        check(&nested, "0::/../../a\n", 1_048_576, false);
    }

    #[test]
    fn in_a_container_with_the_path_of_the_host_the_root_is_the_own_group() {
        let v1 = [("memory/memory.limit_in_bytes", "1048576\n")];
        check(
            &v1,
            "3:cpu,cpuacct:/x\n2:memory:/docker/f00\n",
            1_048_576,
            false,
        );
        let v2 = [("memory.max", "1048576\n")];
        check(&v2, "0::/docker/f00\n", 1_048_576, false);
    }

    #[test]
    fn without_a_limit_the_memory_of_the_machine_counts() {
        let machine = 4096 * 1024;
        let v1 = [("memory/memory.limit_in_bytes", "9223372036854771712\n")];
        check(&v1, "2:memory:/\n", machine, true);
        check(&[("memory.max", "max\n")], "0::/\n", machine, true);
        check(&[("memory.max", "99999999999\n")], "0::/\n", machine, true);
        check(&[], "0::/\n", machine, true);
        assert_eq!(smallest("", Path::new("/nowhere"), ""), None);
    }
}
