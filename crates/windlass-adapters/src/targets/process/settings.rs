//! Configuration of functions that are programs, with its defaults.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access};

/// Variables of the daemon that every function inherits.
const INHERITED: [&str; 6] = ["PATH", "HOME", "LANG", "LC_*", "TZ", "TMPDIR"];

/// Where programs are looked up if the function has no `PATH`, as `execvp` does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// A function that is a program on this machine. It speaks Lambda's Runtime API.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessFunction {
    /// The program and its arguments; at least one.
    pub command: Vec<String>,
    /// Working directory; absolute.
    pub directory: PathBuf,
    /// `_HANDLER`
    pub handler: Option<String>,
    /// Variables of the file.
    pub environment: BTreeMap<String, String>,
    /// Names of the daemon's variables that it inherits, and prefixes of names with `*` at the end.
    pub inherit_environment: Vec<String>,
    pub minimum_processes: usize,
    pub maximum_processes: usize,
    pub idle_timeout: Duration,
    /// Limit of each process, in bytes.
    pub memory: Option<u64>,
    pub init_timeout: Duration,
}

impl ProcessFunction {
    pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
    pub const DEFAULT_INIT_TIMEOUT: Duration = Duration::from_secs(10);

    /// A function with the defaults.
    pub fn new(command: Vec<String>, directory: &Path) -> Self {
        Self {
            command,
            directory: directory.to_owned(),
            handler: None,
            environment: BTreeMap::new(),
            inherit_environment: Vec::new(),
            minimum_processes: 0,
            maximum_processes: 1,
            idle_timeout: Self::DEFAULT_IDLE_TIMEOUT,
            memory: None,
            init_timeout: Self::DEFAULT_INIT_TIMEOUT,
        }
    }

    /// The variables that the function has from the daemon and from the file.
    pub(super) fn variables(
        &self,
        own: impl Iterator<Item = (OsString, OsString)>,
    ) -> BTreeMap<OsString, OsString> {
        let mut variables: BTreeMap<_, _> = own.filter(|(name, _)| self.inherits(name)).collect();
        for (name, value) in &self.environment {
            variables.insert(name.into(), value.into());
        }
        variables
    }

    fn inherits(&self, name: &OsStr) -> bool {
        let more = self.inherit_environment.iter().map(String::as_str);
        INHERITED.into_iter().chain(more).any(|pattern| {
            pattern.strip_suffix('*').map_or(name == pattern, |prefix| {
                name.as_bytes().starts_with(prefix.as_bytes())
            })
        })
    }

    /// Finds the program, given the function's `PATH`.
    ///
    /// # Errors
    /// The directory does not exist, or the program was not found or cannot be executed.
    pub fn find_program(&self, path: Option<&OsStr>) -> Result<PathBuf, String> {
        if !self.directory.is_dir() {
            return Err(format!(
                "the directory {} does not exist",
                self.directory.display()
            ));
        }
        let program = self.command.first().map_or("", String::as_str);
        if program.contains('/') {
            let found = self.directory.join(program);
            return if !found.is_file() {
                Err(format!("the program {} does not exist", found.display()))
            } else if is_executable(&found) {
                Ok(found)
            } else {
                Err(format!(
                    "the program {} is not executable; allow it with chmod +x",
                    found.display()
                ))
            };
        }
        let path = path.unwrap_or_else(|| OsStr::new(DEFAULT_PATH));
        let directories = std::env::split_paths(path).map(|it| self.directory.join(it));
        let mut candidates = directories.map(|directory| directory.join(program));
        let found = candidates.find(|it| it.is_file() && is_executable(it));
        found.ok_or_else(|| {
            format!(
                "the program {program} was not found in PATH ({}); install it, or write its path with a \
                 slash",
                path.display()
            )
        })
    }
}

fn is_executable(file: &Path) -> bool {
    access(file, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(program: &str) -> ProcessFunction {
        ProcessFunction::new(vec![program.to_owned()], Path::new("/"))
    }

    #[test]
    fn credentials_are_inherited_only_where_they_are_named() {
        let own = || {
            let names = [
                "PATH",
                "LC_ALL",
                "AWS_SECRET_ACCESS_KEY",
                "TEAM_A",
                "TEAM_B",
                "LANGUAGE",
            ];
            names.into_iter().map(|it| (it.into(), "daemon".into()))
        };
        let mut function = function("sh");
        let names = |function: &ProcessFunction| {
            let variables = function.variables(own());
            variables.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(names(&function), ["LC_ALL", "PATH"]);
        function.inherit_environment =
            vec!["TEAM_*".to_owned(), "AWS_SECRET_ACCESS_KEY".to_owned()];
        let expected = [
            "AWS_SECRET_ACCESS_KEY",
            "LC_ALL",
            "PATH",
            "TEAM_A",
            "TEAM_B",
        ];
        assert_eq!(names(&function), expected);
        function
            .environment
            .insert("PATH".to_owned(), "file".to_owned());
        let variables = function.variables(own());
        assert_eq!(variables[OsStr::new("PATH")], "file");
    }

    #[test]
    fn a_program_is_found_or_the_reason_is_given() {
        let path = Some(OsStr::new("/nowhere:/bin"));
        assert_eq!(
            function("sh").find_program(path),
            Ok(PathBuf::from("/bin/sh"))
        );
        let file = function("bin/sh").find_program(None);
        assert_eq!(file, Ok(PathBuf::from("/bin/sh")));
        for (program, says) in [
            ("no-such-program", "not found in PATH (/nowhere:/bin)"),
            ("/etc/passwd", "not executable"),
            ("./no-such-program", "does not exist"),
        ] {
            let error = function(program).find_program(path).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let mut elsewhere = function("sh");
        elsewhere.directory = PathBuf::from("/nowhere");
        let error = elsewhere.find_program(path).unwrap_err();
        assert!(error.contains("directory /nowhere"), "{error}");
    }
}
