//! The credentials of client commands, from the environment.

use std::time::SystemTime;

use anyhow::Context;
use aws_credential_types::Credentials as AwsCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, HOST, HeaderValue};

use crate::config::{Environment, default_region};

/// How a client proves who it is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    None,
    Key {
        id: String,
        secret: String,
        region: String,
    },
    Token(String),
}

impl Credentials {
    /// An access key of the daemon, else a token, else a static access key of AWS. A key of AWS with
    /// a session token is temporary: the daemon cannot have it.
    pub(crate) fn from_env(env: Environment<'_>) -> Self {
        let variable = |name| (env.variable)(name).filter(|value| !value.is_empty());
        let key = |id, secret| {
            variable(id)
                .zip(variable(secret))
                .map(|(id, secret)| Self::Key {
                    id,
                    secret,
                    region: default_region(env),
                })
        };
        key("WINDLASS_ACCESS_KEY_ID", "WINDLASS_SECRET_ACCESS_KEY")
            .or_else(|| variable("WINDLASS_TOKEN").map(Self::Token))
            .or_else(|| {
                let of_aws = key("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY");
                of_aws.filter(|_| variable("AWS_SESSION_TOKEN").is_none())
            })
            .unwrap_or(Self::None)
    }

    /// Adds the token or the signature to a request, and its `Host`, which is signed.
    pub(crate) fn apply(&self, request: &mut Request<Bytes>) -> anyhow::Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Token(token) => {
                let value = HeaderValue::from_str(&format!("Bearer {token}"));
                let value = value.context("WINDLASS_TOKEN has characters that no token has")?;
                request.headers_mut().insert(AUTHORIZATION, value);
                Ok(())
            }
            Self::Key { id, secret, region } => sign_request(request, id, secret, region),
        }
    }
}

fn sign_request(
    request: &mut Request<Bytes>,
    id: &str,
    secret: &str,
    region: &str,
) -> anyhow::Result<()> {
    let host = request.uri().host().unwrap_or_default();
    let port = request.uri().port().map(|port| format!(":{port}"));
    let host = format!("{host}{}", port.unwrap_or_default());
    let host = HeaderValue::from_str(&host).context("the endpoint has no host")?;
    request.headers_mut().insert(HOST, host);
    let identity = AwsCredentials::new(id, secret, None, None, "windlass").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("lambda")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()?
        .into();
    let (uri, body) = (request.uri().to_string(), request.body().clone());
    let headers = request.headers().iter();
    let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let signable = SignableRequest::new(
        request.method().as_str(),
        &uri,
        headers,
        SignableBody::Bytes(&body),
    )?;
    let (instructions, _) = sign(signable, &params)?.into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_key_comes_before_a_token_and_a_token_before_a_key_of_aws() {
        let all = [
            ("WINDLASS_ACCESS_KEY_ID", "W"),
            ("WINDLASS_SECRET_ACCESS_KEY", "w"),
            ("WINDLASS_TOKEN", "t"),
            ("AWS_ACCESS_KEY_ID", "A"),
            ("AWS_SECRET_ACCESS_KEY", "a"),
            ("AWS_SESSION_TOKEN", "s"),
            ("AWS_REGION", "eu-west-1"),
        ];
        let found = |without: &[&str]| {
            let set = |name: &str| {
                let mut set = all.iter().filter(|(it, _)| !without.contains(it));
                set.find(|(it, _)| *it == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            let env = Environment {
                variable: &set,
                region_of_profile: &|| None,
                directory: None,
            };
            match Credentials::from_env(env) {
                Credentials::None => "none".to_owned(),
                Credentials::Token(token) => token,
                Credentials::Key { id, secret, region } => format!("{id} {secret} {region}"),
            }
        };
        assert_eq!(found(&[]), "W w eu-west-1");
        assert_eq!(found(&["WINDLASS_SECRET_ACCESS_KEY", "AWS_REGION"]), "t");
        let without = ["WINDLASS_ACCESS_KEY_ID", "WINDLASS_TOKEN"];
        assert_eq!(found(&without), "none", "a session of AWS is not used");
        let without = [&without[..], &["AWS_SESSION_TOKEN"]].concat();
        assert_eq!(found(&without), "A a eu-west-1");
    }
}
