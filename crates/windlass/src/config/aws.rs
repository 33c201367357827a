//! The region, the account, the endpoints, the certificates and the roles of AWS.

use std::collections::BTreeMap;
use std::path::Path;

use windlass_adapters::aws::{AwsSettings, Service};
use windlass_adapters::targets::{UrlError, validate_url};
use windlass_adapters::tls_roots::CaBundle;

use super::error::Errors;
use super::reader::Section;
use super::{Environment, roles};

const DEFAULT_REGION: &str = "us-east-1";
const DEFAULT_ACCOUNT_ID: &str = "000000000000";

pub(super) fn read(file: &mut Section<'_>, env: Environment<'_>, errors: &Errors) -> AwsSettings {
    let region = region(file, env);
    let mut aws = file.section("aws");
    AwsSettings {
        region,
        endpoints: endpoints(&mut aws),
        placeholder_credentials: false,
        ca_bundle: ca_bundle(env, errors),
        assume_roles: roles::read_rules(&mut aws),
    }
}

/// The account of names without an ARN: twelve digits.
pub(super) fn account_id(file: &mut Section<'_>) -> String {
    let twelve_digits =
        |text: &&str| text.len() == 12 && text.bytes().all(|it| it.is_ascii_digit());
    let id = file.take("account_id").and_then(|field| {
        let id = field.node.text().filter(twelve_digits);
        if id.is_none() {
            field.expected("twelve digits, in quotes");
        }
        id
    });
    id.unwrap_or(DEFAULT_ACCOUNT_ID).to_owned()
}

fn region(file: &mut Section<'_>, env: Environment<'_>) -> String {
    configured_region(file).unwrap_or_else(|| default_region(env))
}

/// Looked up where AWS's own programs look, except for the metadata service of EC2: elsewhere than
/// on EC2 a program would wait for an answer that never comes.
///
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-region.html>
pub(crate) fn default_region(env: Environment<'_>) -> String {
    let variable = |name| (env.variable)(name).filter(|region| !region.is_empty());
    variable("AWS_REGION")
        .or_else(|| variable("AWS_DEFAULT_REGION"))
        .or_else(env.region_of_profile)
        .unwrap_or_else(|| DEFAULT_REGION.to_owned())
}

/// The region becomes part of host names and ARNs.
fn configured_region(file: &mut Section<'_>) -> Option<String> {
    let field = file.take("region")?;
    let is_plain = |region: &&str| {
        let mut bytes = region.bytes();
        !region.is_empty() && bytes.all(|it| it.is_ascii_alphanumeric() || it == b'-')
    };
    let region = field.node.text().filter(is_plain);
    if region.is_none() {
        field.expected("a region such as us-east-1");
    }
    region.map(str::to_owned)
}

fn endpoints(aws: &mut Section<'_>) -> BTreeMap<Service, String> {
    let mut endpoints = aws.section("endpoints");
    let mut urls = BTreeMap::new();
    for service in Service::ALL {
        let Some(field) = endpoints.take(service.name()) else {
            continue;
        };
        let url = field.node.text();
        match url.map(|url| (url, validate_url(url))) {
            Some((url, Ok(()))) => {
                urls.insert(service, url.trim_end_matches('/').to_owned());
            }
            Some((_, Err(UrlError::UserName))) => {
                field.error("user names in URLs are not supported; remove them");
            }
            Some((_, Err(UrlError::Invalid))) | None => {
                field.expected("a URL such as http://127.0.0.1:4566");
            }
        }
    }
    urls
}

fn ca_bundle(env: Environment<'_>, errors: &Errors) -> Option<CaBundle> {
    const VARIABLE: &str = "AWS_CA_BUNDLE";
    let path = (env.variable)(VARIABLE).filter(|path| !path.is_empty())?;
    match CaBundle::read(Path::new(&path)) {
        Ok(bundle) => Some(bundle),
        Err(message) => {
            let remedy = "name a PEM file of certificates, or unset the variable";
            errors.push(0, format!("{VARIABLE}: {message}; {remedy}"));
            None
        }
    }
}
