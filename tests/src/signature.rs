//! Requests signed by AWS's own signer, and the keys of the server that checks them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use hyper::Request;
use hyper::header::{HOST, HeaderValue};
use windlass_admin::{AccessKey, AuthSettings, BearerToken, Role, Secret};
use windlass_core::time::Timestamp;

const ADMIN: (&str, &str) = ("WINDLASSADMIN", "secret-of-the-admin");
const VIEWER: (&str, &str) = ("WINDLASSVIEW", "secret-of-the-viewer");

/// The tokens of [`keys`], of both roles.
pub const TOKENS: [&str; 2] = ["token-of-the-admin", "token-of-grafana"];

/// How a request is signed.
#[derive(Clone, Debug)]
pub struct Signature {
    key: (&'static str, &'static str),
    region: String,
    /// In seconds.
    skew: i64,
    presigned: Option<u64>,
    sent: Option<String>,
}

/// Two access keys and two tokens.
///
/// # Panics
/// If a secret is refused.
#[must_use]
pub fn keys() -> AuthSettings {
    let roles = [Role::Admin, Role::ReadOnly];
    let secret = |text| Secret::new(text).expect("it is long enough");
    let access_keys = [ADMIN, VIEWER].into_iter().zip(roles);
    let tokens = TOKENS.into_iter().zip(roles);
    AuthSettings::Required {
        access_keys: access_keys
            .map(|((id, text), role)| AccessKey {
                id: id.to_owned(),
                secret: secret(text),
                role,
            })
            .collect(),
        bearer_tokens: tokens
            .map(|(text, role)| BearerToken {
                name: text.replace("token-of-", ""),
                token: secret(text),
                role,
            })
            .collect(),
    }
}

impl Signature {
    /// # Errors
    /// There is no such caller.
    pub fn by(caller: &str) -> anyhow::Result<Self> {
        let key = match caller {
            "admin" => ADMIN,
            "viewer" => VIEWER,
            "stranger" => ("STRANGER", ADMIN.1),
            "forger" => (ADMIN.0, VIEWER.1),
            _ => bail!("unknown caller '{caller}'"),
        };
        Ok(Self {
            key,
            region: "us-east-1".to_owned(),
            skew: 0,
            presigned: None,
            sent: None,
        })
    }

    /// # Errors
    /// The value does not fit the name, or the name is unknown.
    pub fn set(&mut self, name: &str, value: &str) -> anyhow::Result<()> {
        match name {
            "region" => value.clone_into(&mut self.region),
            "skew" => self.skew = value.parse()?,
            "presigned" => self.presigned = Some(value.parse()?),
            "sent" => self.sent = Some(value.to_owned()),
            _ => bail!("a signature has no '{name}'"),
        }
        Ok(())
    }

    /// Signs a request.
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn apply(&self, request: &mut Request<Bytes>, now: Timestamp) -> anyhow::Result<()> {
        let authority = request.uri().authority().context("the URL has a host")?;
        let host = HeaderValue::from_str(authority.as_str())?;
        request.headers_mut().insert(HOST, host);
        let mut settings = SigningSettings::default();
        settings.expires_in = self.presigned.map(Duration::from_secs);
        if self.presigned.is_some() {
            settings.signature_location = SignatureLocation::QueryParams;
        }
        let time: SystemTime =
            UNIX_EPOCH + Duration::from_millis(now.shifted(self.skew * 1000).as_millis());
        let (id, secret) = self.key;
        let identity = Credentials::new(id, secret, None, None, "test").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("lambda")
            .time(time)
            .settings(settings)
            .build()?
            .into();
        let (uri, body) = (request.uri().to_string(), request.body().clone());
        let headers = request.headers().iter();
        let headers =
            headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let method = request.method().as_str();
        let signable = SignableRequest::new(method, &uri, headers, SignableBody::Bytes(&body))?;
        let (instructions, _) = sign(signable, &params)?.into_parts();
        instructions.apply_to_request_http1x(request);
        if let Some(sent) = &self.sent {
            *request.body_mut() = Bytes::from(sent.clone());
        }
        Ok(())
    }
}
