//! Memory limits by the control groups of Linux, version 2, where a part of their tree is ours.
//!
//! A group that has processes cannot have groups with limits: the daemon moves itself from its own
//! group into a leaf, and each process of a function has a leaf next to it.
//!
//! <https://docs.kernel.org/admin-guide/cgroup-v2.html>

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The leaf of the daemon and of the supervisors.
const DAEMON: &str = "windlass-daemon";

/// The leaves of processes have a number after it.
const PROCESS: &str = "windlass-process-";

/// A group is removed once the kernel has forgotten its last process.
const REMOVE_INTERVAL: Duration = Duration::from_millis(2);
const MAX_REMOVE_ROUNDS: u32 = 500;

/// Where the groups of processes are made.
#[derive(Debug)]
pub struct MemoryGroups {
    directory: PathBuf,
    last: AtomicU64,
}

/// The group of one process.
#[derive(Debug)]
pub(super) struct MemoryGroup(PathBuf);

impl MemoryGroups {
    /// The groups of this daemon, if it may make some; the log says how memory is limited.
    pub fn of_daemon() -> Option<Arc<Self>> {
        match Self::take_over(Path::new("/")) {
            Ok(groups) => {
                let directory = groups.directory.display();
                tracing::info!(%directory, "the memory of functions is limited by cgroup v2");
                Some(Arc::new(groups))
            }
            Err(reason) => {
                tracing::info!(
                    reason,
                    "the memory of functions is limited by RLIMIT_DATA, for each process alone"
                );
                None
            }
        }
    }

    /// Takes over the group that this process is in. `root` is `/`, but for tests.
    ///
    /// # Errors
    /// It is not ours; the text says why.
    fn take_over(root: &Path) -> Result<Self, String> {
        let directory = own_group(root)?;
        let controllers = read(&directory.join("cgroup.controllers"))?;
        if !controllers.split_whitespace().any(|it| it == "memory") {
            return Err("cgroup v2 does not control memory here".to_owned());
        }
        // Every group but that of the whole machine has a type.
        read(&directory.join("cgroup.type"))?;
        let groups = Self {
            directory,
            last: AtomicU64::new(0),
        };
        groups.move_daemon()?;
        groups.remove_leftovers();
        Ok(groups)
    }

    fn move_daemon(&self) -> Result<(), String> {
        let pid = std::process::id().to_string();
        let leaf = self.directory.join(DAEMON);
        match fs::create_dir(&leaf) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(describe("creating", &leaf, &error));
            }
            Ok(()) | Err(_) => {}
        }
        let moved = write(&leaf.join("cgroup.procs"), &pid);
        let enabled =
            moved.and_then(|()| write(&self.directory.join("cgroup.subtree_control"), "+memory"));
        if enabled.is_err() {
            // The group has other processes, or is only in part ours.
            drop(write(&self.directory.join("cgroup.procs"), &pid));
            drop(fs::remove_dir(&leaf));
        }
        enabled
    }

    /// Removes the groups of a daemon that was killed in the same group.
    fn remove_leftovers(&self) {
        let entries = fs::read_dir(&self.directory).into_iter().flatten();
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(PROCESS) {
                // Its processes have ended by then, or it stays.
                MemoryGroup(entry.path()).kill();
            }
        }
    }

    /// Makes the group of a process with a limit in bytes.
    pub(super) fn create(&self, limit: u64) -> Result<MemoryGroup, String> {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let path = self.directory.join(format!("{PROCESS}{number}"));
        fs::create_dir(&path).map_err(|error| describe("creating", &path, &error))?;
        let group = MemoryGroup(path);
        group.limit(limit)?;
        Ok(group)
    }
}

impl MemoryGroup {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn limit(&self, bytes: u64) -> Result<(), String> {
        write(&self.0.join("memory.max"), &bytes.to_string())?;
        // All of its processes end together: one without the others answers nothing.
        write(&self.0.join("memory.oom.group"), "1")?;
        // Absent where there is no swap.
        drop(write(&self.0.join("memory.swap.max"), "0"));
        Ok(())
    }

    /// Moves the process that calls this into the group in `directory`.
    pub(super) fn join(directory: &Path) -> io::Result<()> {
        fs::write(directory.join("cgroup.procs"), "0")
    }

    /// Whether a process was killed since it needed more memory than the limit.
    pub(super) fn was_exceeded(&self) -> bool {
        let events = fs::read_to_string(self.0.join("memory.events")).unwrap_or_default();
        let kills = events.lines().find_map(|it| it.strip_prefix("oom_kill "));
        kills.is_some_and(|kills| kills.trim() != "0")
    }

    /// The most memory that its processes have had, in bytes; the kernel tells it since 5.19.
    pub(super) fn peak(&self) -> Option<u64> {
        let peak = fs::read_to_string(self.0.join("memory.peak")).ok()?;
        peak.trim().parse().ok()
    }

    /// Kills every process of it; the kernel does it since 5.14.
    pub(super) fn kill(&self) {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(self.0.join("cgroup.kill"));
        drop(file.and_then(|mut file| file.write_all(b"1")));
    }

    /// Waits until the kernel has forgotten its last process, and removes it.
    pub(super) async fn remove(&self) {
        for _ in 0..MAX_REMOVE_ROUNDS {
            match fs::remove_dir(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    tokio::time::sleep(REMOVE_INTERVAL).await;
                }
                Ok(()) | Err(_) => return,
            }
        }
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // It may be gone; one that has a process stays until the daemon starts again.
        drop(fs::remove_dir(&self.0));
    }
}

/// The directory of the group that this process is in.
fn own_group(root: &Path) -> Result<PathBuf, String> {
    let groups = read(&root.join("proc/self/cgroup"))?;
    // Lines with other numbers are of version 1.
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let path = path.ok_or("there is no cgroup v2")?;
    let mounts = read(&root.join("proc/self/mountinfo"))?;
    let mount = mounts.lines().find_map(mount_of_groups);
    let (top, directory) = mount.ok_or("cgroup v2 is not mounted")?;
    let below = Path::new(path).strip_prefix(top.trim_start_matches('/'));
    let below = below.ok().filter(|path| !path.starts_with(".."));
    let below = below.ok_or("the group of the daemon is not below the mount of cgroup v2")?;
    Ok(root.join(directory.trim_start_matches('/')).join(below))
}

/// The group at the top of a mount and its directory, from a line of `mountinfo`.
fn mount_of_groups(line: &str) -> Option<(&str, &str)> {
    let (mount, kind) = line.split_once(" - ")?;
    let is_groups = kind.split(' ').next() == Some("cgroup2");
    let mut fields = mount.split(' ').skip(3);
    fields.next().zip(fields.next()).filter(|_| is_groups)
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| describe("reading", file, &error))
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| describe("writing", file, &error))
}

fn describe(action: &str, file: &Path, error: &io::Error) -> String {
    format!("{action} {}: {error}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that looks like the part of a machine that is read here. The kernel does more: it
    /// fills new groups with files, and counts.
    struct Machine(PathBuf);

    const OWN: &str = "sys/fs/cgroup/system.slice/windlass.service";

    impl Machine {
        fn new() -> Self {
            let name = format!("windlass-groups-{:016x}", fastrand::u64(..));
            let machine = Self(std::env::temp_dir().join(name));
            machine.write(
                "proc/self/cgroup",
                "1:name=systemd:/x\n0::/system.slice/windlass.service\n",
            );
            let mounts = "24 30 0:22 / /proc rw - proc proc rw\n\
                          31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
            machine.write("proc/self/mountinfo", mounts);
            machine.write(&format!("{OWN}/cgroup.controllers"), "cpu memory pids\n");
            machine.write(&format!("{OWN}/cgroup.type"), "domain\n");
            machine
        }

        fn write(&self, file: &str, text: &str) {
            let file = self.0.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }

        fn own(&self, file: &str) -> String {
            fs::read_to_string(self.0.join(OWN).join(file)).unwrap()
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    #[test]
    fn a_process_has_a_limited_group_next_to_that_of_the_daemon() {
        let machine = Machine::new();
        let leftover = machine.0.join(OWN).join("windlass-process-7");
        fs::create_dir_all(&leftover).unwrap();
        let groups = MemoryGroups::take_over(&machine.0).unwrap();
        assert!(!leftover.exists());
        let own = std::process::id().to_string();
        assert_eq!(machine.own("windlass-daemon/cgroup.procs"), own);
        assert_eq!(machine.own("cgroup.subtree_control"), "+memory");
        let group = groups.create(64 << 20).unwrap();
        for (file, text) in [
            ("memory.max", "67108864"),
            ("memory.oom.group", "1"),
            ("memory.swap.max", "0"),
        ] {
            assert_eq!(machine.own(&format!("windlass-process-1/{file}")), text);
        }
        MemoryGroup::join(group.path()).unwrap();
        assert_eq!(machine.own("windlass-process-1/cgroup.procs"), "0");
        assert!(!group.was_exceeded());
        assert_eq!(group.peak(), None);
        let events = "low 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 1\n";
        machine.write(&format!("{OWN}/windlass-process-1/memory.events"), events);
        machine.write(
            &format!("{OWN}/windlass-process-1/memory.peak"),
            "67100000\n",
        );
        assert!(group.was_exceeded());
        assert_eq!(group.peak(), Some(67_100_000));
        let other = groups.create(64 << 20).unwrap();
        assert!(other.path().ends_with("windlass-process-2"));
    }

    #[tokio::test]
    async fn a_group_is_removed_after_its_process() {
        let machine = Machine::new();
        let path = machine.0.join("group");
        fs::create_dir(&path).unwrap();
        MemoryGroup(path.clone()).remove().await;
        assert!(!path.exists());
    }

    #[test]
    fn a_group_that_is_not_ours_is_left_as_it_was() {
        let type_of_own = format!("{OWN}/cgroup.type");
        let controllers = format!("{OWN}/cgroup.controllers");
        for (file, text, says) in [
            ("proc/self/cgroup", "4:memory:/x\n", "no cgroup v2"),
            ("proc/self/cgroup", "0::/../x\n", "not below the mount"),
            ("proc/self/mountinfo", "", "not mounted"),
            (&controllers, "cpu pids\n", "does not control memory"),
            // The group of the whole machine has none.
            (&type_of_own, "", "cgroup.type"),
        ] {
            let machine = Machine::new();
            if text.is_empty() && file == type_of_own {
                fs::remove_file(machine.0.join(file)).unwrap();
            } else {
                machine.write(file, text);
            }
            let reason = MemoryGroups::take_over(&machine.0).unwrap_err();
            assert!(reason.contains(says), "{reason}");
            assert!(!machine.0.join(OWN).join(DAEMON).exists());
        }
        // As where the group has other processes: the kernel refuses.
        let machine = Machine::new();
        fs::create_dir(machine.0.join(OWN).join("cgroup.subtree_control")).unwrap();
        let reason = MemoryGroups::take_over(&machine.0).unwrap_err();
        assert!(reason.contains("cgroup.subtree_control"), "{reason}");
        assert_eq!(machine.own("cgroup.procs"), std::process::id().to_string());
    }
}
