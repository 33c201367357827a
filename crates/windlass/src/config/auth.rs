//! Who may call the API.

use std::collections::HashMap;

use windlass_admin::{AccessKey, AuthSettings, BearerToken, Role, Secret};

use super::Environment;
use super::reader::{Field, Section};
use super::yaml::Value;

const MAX_NAME_LENGTH: usize = 128;

/// `None` if the file does not say. Values of secrets are never shown.
pub(super) fn read(file: &mut Section<'_>, env: Environment<'_>) -> Option<AuthSettings> {
    if file.is_unset("auth") {
        // Reported already; nothing more is known of it.
        return Some(AuthSettings::None);
    }
    let field = file.take("auth")?;
    if field.node.text() == Some("none") {
        return Some(AuthSettings::None);
    }
    if !matches!(field.node.value, Value::Map(_)) {
        field
            .secret()
            .expected_collection("none, or a map with access_keys and bearer_tokens");
        return Some(AuthSettings::default());
    }
    let mut section = field.section();
    let lists = ["access_keys", "bearer_tokens"];
    let is_unset = lists.iter().any(|name| section.is_unset(name));
    let [keys, tokens] = lists.map(|name| section.take(name));
    let n_entries = [&keys, &tokens].map(|list| list.as_ref().map_or(0, n_entries));
    if n_entries == [0, 0] && !is_unset {
        section.error("nobody could call; add access_keys or bearer_tokens, or write 'none'");
    }
    let mut ids = Names::default();
    let keys = keys.map(|list| {
        each(&list, |mut entry| {
            let id = ids.read(&mut entry, "id");
            let secret = secret(&mut entry, ["secret", "secret_file"], env);
            let role = role(&mut entry);
            Some(AccessKey {
                id: id?,
                secret: secret?,
                role: role?,
            })
        })
    });
    let (mut names, mut known) = (Names::default(), Vec::<Secret>::new());
    let tokens = tokens.map(|list| {
        each(&list, |mut entry| {
            let name = names.read(&mut entry, "name");
            let token = secret(&mut entry, ["token", "token_file"], env);
            let role = role(&mut entry);
            // Whose it is would be unknown.
            if let Some(token) = &token {
                if known.iter().any(|it| it.equals(token)) {
                    entry.error("another entry has the same token");
                }
                known.push(token.clone());
            }
            Some(BearerToken {
                name: name?,
                token: token?,
                role: role?,
            })
        })
    });
    Some(AuthSettings::Required {
        access_keys: keys.unwrap_or_default(),
        bearer_tokens: tokens.unwrap_or_default(),
    })
}

fn n_entries(list: &Field<'_>) -> usize {
    let Value::List(items) = &list.node.value else {
        // Reported as not being a list.
        return 1;
    };
    items.len()
}

/// Reads the entries of a list; those with an error are left out.
fn each<T>(list: &Field<'_>, mut read: impl FnMut(Section<'_>) -> Option<T>) -> Vec<T> {
    let Value::List(items) = &list.node.value else {
        list.expected_collection("a list");
        return Vec::new();
    };
    let entries = items.iter().enumerate().filter_map(|(index, node)| {
        let entry = list.child(node, &format!("[{index}]"));
        if matches!(node.value, Value::Map(_)) {
            return read(entry.section());
        }
        entry.secret().expected_collection("keys and values");
        None
    });
    entries.collect()
}

/// The names of a list, each with its line.
#[derive(Default)]
struct Names(HashMap<String, u32>);

impl Names {
    /// Reads a name, which no other entry may have.
    fn read(&mut self, entry: &mut Section<'_>, key: &'static str) -> Option<String> {
        let is_unset = entry.is_unset(key);
        let Some(field) = entry.take(key) else {
            if !is_unset {
                entry.error(format_args!("{key} is required"));
            }
            return None;
        };
        let name = field.text()?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if MAX_NAME_LENGTH < name.len() || !name.bytes().all(is_plain) {
            field.expected("1 to 128 letters, digits, hyphens, underscores and periods");
            return None;
        }
        let line = field.node.line;
        match self.0.insert(name.clone(), line) {
            None => Some(name),
            Some(first) => {
                field.error(format_args!(
                    "duplicate {key}, first defined on line {first}"
                ));
                None
            }
        }
    }
}

/// From one of two keys: the secret itself, or its file, relative to the directory of the
/// configuration.
fn secret(
    entry: &mut Section<'_>,
    [value, file]: [&'static str; 2],
    env: Environment<'_>,
) -> Option<Secret> {
    let is_unset = [value, file].iter().any(|name| entry.is_unset(name));
    let generate = entry.bool("generate").unwrap_or(false);
    match (entry.take(value), entry.take(file)) {
        (Some(field), None) if generate => {
            field.error(format_args!("generate is only for a {file}"));
            None
        }
        (Some(field), None) => {
            let field = field.secret();
            let secret = Secret::new(&field.text()?);
            secret.map_err(|message| field.error(message)).ok()
        }
        (None, Some(field)) => {
            let directory = env.directory.unwrap_or_else(|| "".as_ref());
            let path = directory.join(field.text()?);
            let secret = match generate {
                true => Secret::from_file_or_new(&path),
                false => Secret::from_file(&path),
            };
            secret.map_err(|message| field.error(message)).ok()
        }
        (None, None) if is_unset => None,
        _ => {
            entry.error(format_args!(
                "exactly one of {value} and {file} is required"
            ));
            None
        }
    }
}

fn role(entry: &mut Section<'_>) -> Option<Role> {
    let is_unset = entry.is_unset("role");
    let Some(field) = entry.take("role") else {
        if !is_unset {
            entry.error("role is required: admin or read_only");
        }
        return None;
    };
    let role = field.node.text().and_then(Role::from_name);
    if role.is_none() {
        field.expected("admin or read_only");
    }
    role
}
