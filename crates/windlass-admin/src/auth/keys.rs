//! The access keys and bearer tokens of the configuration, whose secrets may be in files.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::watched_files::{Reread, WatchedFiles, open};

/// A shorter secret can be guessed.
const MIN_SECRET_LENGTH: usize = 16;
const MAX_SECRET_LENGTH: usize = 1_024;

/// Rights of a file with a new secret.
const FILE_MODE: u32 = 0o600;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Admin,
    ReadOnly,
}

/// Signs requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    pub id: String,
    pub secret: Secret,
    pub role: Role,
}

/// Opens windlass's own API and the metrics, not the API of AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BearerToken {
    pub name: String,
    pub token: Secret,
    pub role: Role,
}

/// A secret from the configuration or from a file. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: String,
    file: Option<SecretFile>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SecretFile {
    path: PathBuf,
    /// `None` until a new secret is written.
    watched: Option<WatchedFiles>,
}

impl Role {
    /// As the configuration spells it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "admin" => Some(Self::Admin),
            "read_only" => Some(Self::ReadOnly),
            _ => None,
        }
    }
}

impl Secret {
    /// # Errors
    /// What is wrong with it.
    pub fn new(value: &str) -> Result<Self, String> {
        Ok(Self {
            value: checked(value)?,
            file: None,
        })
    }

    /// Reads the first line of a file, and reads it again whenever the file has changed.
    ///
    /// # Errors
    /// The file cannot be read, or what is wrong with its content.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        let watched = Some(WatchedFiles::new([path]));
        Ok(Self {
            value: read(path)?,
            file: Some(SecretFile {
                path: path.to_owned(),
                watched,
            }),
        })
    }

    /// As [`Secret::from_file`], or a new random secret if there is no file. A daemon that starts writes it
    /// there.
    ///
    /// # Errors
    /// As [`Secret::from_file`].
    pub fn from_file_or_new(path: &Path) -> Result<Self, String> {
        if fs::exists(path).unwrap_or(true) {
            return Self::from_file(path);
        }
        let random = || uuid::Uuid::new_v4().simple();
        Ok(Self {
            value: format!("{}{}", random(), random()),
            file: Some(SecretFile {
                path: path.to_owned(),
                watched: None,
            }),
        })
    }

    /// Writes a secret that is new to its file, for its owner alone; returns the path if it was.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn save(&mut self) -> io::Result<Option<&Path>> {
        let Some(file) = self.file.as_mut().filter(|file| file.watched.is_none()) else {
            return Ok(None);
        };
        let mut new_file = fs::OpenOptions::new();
        let new_file = new_file.write(true).create_new(true).mode(FILE_MODE);
        let mut written = new_file.open(&file.path)?;
        writeln!(written, "{}", self.value)?;
        written.sync_all()?;
        file.watched = Some(WatchedFiles::new([&file.path]));
        Ok(Some(&file.path))
    }

    /// Whether two secrets are the same, wherever they come from.
    #[must_use]
    pub fn equals(&self, other: &Self) -> bool {
        digest(&self.value) == digest(&other.value)
    }

    /// Reads the file again. One that cannot be used is reported, and the secret stays as it was.
    fn refresh(&mut self, when: Reread, what: &str) {
        let Some(file) = &mut self.file else {
            return;
        };
        if let Some(watched) = &mut file.watched
            && let Some(value) = watched.refresh(when, what, || read(&file.path))
        {
            self.value = value;
        }
    }

    fn problem(&self) -> Option<String> {
        let watched = self.file.as_ref()?.watched.as_ref()?;
        watched.problem().map(str::to_owned)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Those of one daemon.
#[derive(Debug)]
pub(super) struct KeyRing {
    keys: Vec<Mutex<AccessKey>>,
    tokens: Vec<Mutex<BearerToken>>,
}

impl KeyRing {
    pub(super) fn new(keys: Vec<AccessKey>, tokens: Vec<BearerToken>) -> Self {
        Self {
            keys: keys.into_iter().map(Mutex::new).collect(),
            tokens: tokens.into_iter().map(Mutex::new).collect(),
        }
    }

    /// Reads files again that have changed or could not be used, whether anybody calls or not.
    pub(super) fn refresh(&self) {
        let when = Reread::IfChangedOrFailed;
        self.keys.iter().for_each(|key| lock(key).refresh(when));
        self.tokens
            .iter()
            .for_each(|token| lock(token).refresh(when));
    }

    /// Files that cannot be used any more, in the order of the configuration.
    pub(super) fn problems(&self) -> Vec<String> {
        let keys = self.keys.iter().map(|key| lock(key).secret.problem());
        let tokens = self.tokens.iter().map(|token| lock(token).token.problem());
        keys.chain(tokens).flatten().collect()
    }

    /// The secret and the role of an access key.
    pub(super) fn key(&self, id: &str) -> Option<(String, Role)> {
        let mut keys = self.keys.iter().map(lock);
        let mut key = keys.find(|key| key.id == id)?;
        key.refresh(Reread::IfChanged);
        Some((key.secret.value.clone(), key.role))
    }

    /// The name and the role of a token. All are compared, each in constant time.
    pub(super) fn token(&self, presented: &str) -> Option<(String, Role)> {
        let presented = digest(presented);
        let mut found = None;
        for token in &self.tokens {
            let mut token = lock(token);
            token.refresh(Reread::IfChanged);
            if digest(&token.token.value) == presented {
                found = Some((token.name.clone(), token.role));
            }
        }
        found
    }
}

impl AccessKey {
    fn refresh(&mut self, when: Reread) {
        let what = format!("access key {}", self.id);
        self.secret.refresh(when, &what);
    }
}

impl BearerToken {
    fn refresh(&mut self, when: Reread) {
        let what = format!("bearer token {}", self.name);
        self.token.refresh(when, &what);
    }
}

/// Its comparison takes constant time.
fn digest(token: &str) -> hmac::digest::CtOutput<Hmac<Sha256>> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(b"windlass").expect("a key has any length");
    hmac.update(token.as_bytes());
    hmac.finalize()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let mut text = String::new();
    let file = open(path).map_err(|error| format!("cannot open {shown}: {error}"))?;
    // One byte more than the longest secret with its line break.
    let limit = MAX_SECRET_LENGTH as u64 + 3;
    file.take(limit)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot read {shown}: {error}"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    checked(text).map_err(|error| format!("{shown}: {error}"))
}

fn checked(value: &str) -> Result<String, String> {
    let length = value.chars().count();
    if length < MIN_SECRET_LENGTH {
        return Err(format!(
            "a secret has at least {MIN_SECRET_LENGTH} characters; `openssl rand -hex 32` makes one"
        ));
    }
    if MAX_SECRET_LENGTH < length {
        return Err(format!(
            "a secret has at most {MAX_SECRET_LENGTH} characters"
        ));
    }
    if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a secret has letters, digits and signs of ASCII, and no spaces".to_owned());
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    struct TempFile(PathBuf);

    impl TempFile {
        fn new() -> Self {
            let name = format!("windlass-secret-{}", uuid::Uuid::new_v4());
            Self(std::env::temp_dir().join(name))
        }

        fn write(&self, text: &str) {
            fs::write(&self.0, text).unwrap();
        }
    }

    impl Drop for TempFile {
        fn drop(&mut self) {
            drop(fs::remove_file(&self.0));
        }
    }

    #[test]
    fn a_secret_file_is_read_again_when_it_changes_and_a_bad_one_keeps_the_secret() {
        let file = TempFile::new();
        file.write("0123456789abcdef\n");
        let key = AccessKey {
            id: "K".to_owned(),
            secret: Secret::from_file(&file.0).unwrap(),
            role: Role::Admin,
        };
        let token = BearerToken {
            name: "t".to_owned(),
            token: key.secret.clone(),
            role: Role::ReadOnly,
        };
        let ring = KeyRing::new(vec![key], vec![token]);
        let secret = || ring.key("K").unwrap().0;
        assert_eq!(secret(), "0123456789abcdef");
        file.write("another 6789abcdef");
        assert_eq!(secret(), "0123456789abcdef", "it has a space");
        file.write("short");
        assert_eq!(secret(), "0123456789abcdef", "it is too short");
        fs::remove_file(&file.0).unwrap();
        assert_eq!(secret(), "0123456789abcdef", "it is gone");
        ring.refresh();
        let [of_key, of_token] = &ring.problems()[..] else {
            panic!("both have a problem: {:?}", ring.problems());
        };
        assert!(of_key.starts_with("access key K: cannot open "), "{of_key}");
        assert!(of_token.starts_with("bearer token t: "), "{of_token}");
        file.write("fedcba98765432100");
        assert_eq!(secret(), "fedcba98765432100");
        assert_eq!(ring.token("0123456789abcdef"), None);
        assert_eq!(
            ring.token("fedcba98765432100"),
            Some(("t".to_owned(), Role::ReadOnly))
        );
        assert_eq!(ring.problems(), [""; 0]);
        assert_eq!(ring.key("k"), None, "ids are case-sensitive");
    }

    #[test]
    fn a_new_secret_is_written_for_its_owner_alone_and_found_again() {
        let file = TempFile::new();
        let mut new = Secret::from_file_or_new(&file.0).unwrap();
        assert!(!file.0.exists(), "reading a configuration writes nothing");
        assert_eq!(new.save().unwrap(), Some(&*file.0));
        assert_eq!(new.save().unwrap(), None);
        assert_eq!(fs::metadata(&file.0).unwrap().mode() & 0o777, 0o600);
        let mut again = Secret::from_file_or_new(&file.0).unwrap();
        assert!(again.equals(&new));
        assert_eq!(again.save().unwrap(), None);
        let mut other = Secret::from_file_or_new(Path::new("/no/such/file")).unwrap();
        assert!(!other.equals(&new));
        other.save().unwrap_err();
    }

    #[test]
    fn secrets_are_long_enough_and_never_shown() {
        Secret::new("123456789012345").unwrap_err();
        Secret::new("1234567890123456 ").unwrap_err();
        Secret::new(&"x".repeat(1_025)).unwrap_err();
        let secret = Secret::new("1234567890123456").unwrap();
        assert_eq!(format!("{secret:?}"), "***");
        let missing = Secret::from_file(Path::new("/no/such/file")).unwrap_err();
        assert!(missing.contains("cannot open /no/such/file"), "{missing}");
    }
}
