//! Where the API is served, and who may call it.

use std::net::SocketAddr;

use windlass_admin::AllowedHost;

use super::reader::Section;
use super::yaml::Value;

/// The address of the API, status, metrics and health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) address: SocketAddr,
    /// `auth: none`: callers from other machines are not authenticated.
    pub(super) auth_none: bool,
    /// Names under which clients address the daemon.
    pub(crate) allowed_hosts: Vec<AllowedHost>,
}

impl Listen {
    pub(super) fn read(file: &mut Section<'_>) -> Self {
        let mut listen = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 9870)),
            auth_none: false,
            allowed_hosts: allowed_hosts(file),
        };
        if let Some(field) = file.take("auth") {
            if field.node.value != Value::Text("none".to_owned()) {
                field.error("access keys and tokens are not supported yet; write 'none'");
            }
            // Otherwise the address would be reported as well.
            listen.auth_none = true;
        }
        if let Some(field) = file.take("listen") {
            match field.node.text().map(|text| listen.validate(text)) {
                Some(Ok(address)) => listen.address = address,
                Some(Err(message)) => field.error(message),
                None => field.expected("an address such as 127.0.0.1:9870"),
            }
        }
        listen
    }

    /// An address that may be listened on: a loopback one, unless nobody is authenticated.
    pub(super) fn validate(&self, text: &str) -> Result<SocketAddr, String> {
        let address: SocketAddr =
            text.replace("localhost:", "127.0.0.1:")
                .parse()
                .map_err(|_| {
                    format!("'{text}' is not an address with a port, such as 127.0.0.1:9870")
                })?;
        if !address.ip().is_loopback() && !self.auth_none {
            return Err(format!(
                "{address} is reachable from other machines, and callers are not authenticated; \
                 listen on 127.0.0.1, or write 'auth: none' to admit every caller"
            ));
        }
        Ok(address)
    }
}

fn allowed_hosts(file: &mut Section<'_>) -> Vec<AllowedHost> {
    let Some(field) = file.take("allowed_hosts") else {
        return Vec::new();
    };
    let Value::List(items) = &field.node.value else {
        field.expected("a list of host names");
        return Vec::new();
    };
    let mut hosts = Vec::new();
    for (index, node) in items.iter().enumerate() {
        let item = field.child(node, &format!("[{index}]"));
        match item.text().map(|text| AllowedHost::parse(&text)) {
            Some(Ok(host)) => hosts.push(host),
            Some(Err(error)) => item.error(error),
            None => {}
        }
    }
    hosts
}
