//! Where the API is served, with which certificate, and who may call it.

use std::net::SocketAddr;

use windlass_admin::{AllowedHost, AuthSettings, Tls, TlsError, TlsFile, TlsFiles};

use super::reader::{Field, Section};
use super::yaml::Value;
use super::{Environment, auth};

/// The address of the API, status, metrics and health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) address: SocketAddr,
    /// `None` if the file does not say: then only this machine may call.
    pub(crate) auth: Option<AuthSettings>,
    /// Names under which clients address the daemon.
    pub(crate) allowed_hosts: Vec<AllowedHost>,
    /// `None`: plain HTTP.
    pub(crate) tls: Option<Tls>,
}

impl Listen {
    pub(super) fn read(file: &mut Section<'_>, env: Environment<'_>) -> Self {
        let mut listen = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 9870)),
            auth: auth::read(file, env),
            allowed_hosts: allowed_hosts(file),
            tls: tls(file, env),
        };
        if let Some(field) = file.take("listen") {
            let shown = field.shown();
            match (field.node.text(), shown) {
                (Some(text), Some(shown)) => match listen.validate(text, &shown) {
                    Ok(address) => listen.address = address,
                    Err(message) => field.error(message),
                },
                _ => field.expected("an address with a port, such as 127.0.0.1:9870"),
            }
        }
        listen
    }

    /// An address that may be listened on: a loopback one, unless the file says who may call. Errors
    /// contain it as `shown`.
    pub(super) fn validate(&self, text: &str, shown: &str) -> Result<SocketAddr, String> {
        let address: SocketAddr =
            text.replace("localhost:", "127.0.0.1:")
                .parse()
                .map_err(|_| {
                    format!("{shown} is not an address with a port, such as 127.0.0.1:9870")
                })?;
        if !address.ip().is_loopback() && self.auth.is_none() {
            return Err(format!(
                "{shown} is reachable from other machines, and nothing says who may call; give \
                 access keys under 'auth', listen on 127.0.0.1, or write 'auth: none' to admit every \
                 caller"
            ));
        }
        Ok(address)
    }
}

/// The files are relative to the directory of the configuration. A path from the environment is not
/// shown.
fn tls(file: &mut Section<'_>, env: Environment<'_>) -> Option<Tls> {
    const KEYS: [&str; 2] = ["certificate", "key"];
    let field = file.take("tls")?;
    if !matches!(field.node.value, Value::Map(_)) {
        field.expected_collection("a map with certificate and key");
        return None;
    }
    let mut section = field.section();
    let is_unset = KEYS.iter().any(|name| section.is_unset(name));
    let (Some(certificate), Some(key)) = (section.take(KEYS[0]), section.take(KEYS[1])) else {
        if !is_unset {
            section.error("both are required: certificate and key, the paths of PEM files");
        }
        return None;
    };
    let directory = env.directory.unwrap_or_else(|| "".as_ref());
    let file = |field: &Field<'_>| {
        let path = directory.join(field.text()?);
        let shown = match field.node.is_from_variable {
            true => "the file".to_owned(),
            false => path.display().to_string(),
        };
        Some(TlsFile { path, shown })
    };
    let (certificate_file, key_file) = (file(&certificate), file(&key));
    let files = TlsFiles {
        certificate: certificate_file?,
        key: key_file?,
    };
    match Tls::load(files) {
        Ok(tls) => return Some(tls),
        Err(TlsError::Certificate(message)) => certificate.error(message),
        Err(TlsError::Key(message)) => key.error(message),
    }
    None
}

fn allowed_hosts(file: &mut Section<'_>) -> Vec<AllowedHost> {
    let Some(field) = file.take("allowed_hosts") else {
        return Vec::new();
    };
    let Value::List(items) = &field.node.value else {
        field.expected_collection("a list of host names");
        return Vec::new();
    };
    let mut hosts = Vec::new();
    for (index, node) in items.iter().enumerate() {
        let item = field.child(node, &format!("[{index}]"));
        match item.node.text().and_then(AllowedHost::parse) {
            Some(host) => hosts.push(host),
            None if item.node.value == Value::Unset => {}
            None => {
                item.expected("a host name with or without a port, such as windlass.internal:9870")
            }
        }
    }
    hosts
}
