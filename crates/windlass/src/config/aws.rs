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
    let region = region(file, env, errors);
    let mut aws = file.section("aws");
    check_endpoint_variables(env, errors);
    AwsSettings {
        region,
        endpoints: endpoints(&mut aws),
        placeholder_credentials: false,
        ca_bundle: ca_bundle(env).unwrap_or_else(|message| {
            errors.push(0, message);
            None
        }),
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

fn region(file: &mut Section<'_>, env: Environment<'_>, errors: &Errors) -> String {
    if let Some(region) = configured_region(file) {
        return region;
    }
    let (region, from) = region_of(env);
    if !is_plain(&region) {
        let message = "is not a region such as us-east-1; correct it, or set 'region' in the file";
        errors.push(0, format!("{from}: the value {message}"));
    }
    region
}

/// See [`region_of`].
pub(crate) fn default_region(env: Environment<'_>) -> String {
    region_of(env).0
}

/// A region and what it is from. Looked up where AWS's own programs look, except for the metadata
/// service of EC2: elsewhere than on EC2 a program would wait for an answer that never comes.
///
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-region.html>
fn region_of(env: Environment<'_>) -> (String, &'static str) {
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        if let Some(region) = (env.variable)(name).filter(|region| !region.is_empty()) {
            return (region, name);
        }
    }
    match (env.region_of_profile)() {
        Some(region) => (region, "region of the AWS profile"),
        None => (DEFAULT_REGION.to_owned(), "region"),
    }
}

fn configured_region(file: &mut Section<'_>) -> Option<String> {
    let field = file.take("region")?;
    let region = field.node.text().filter(|region| is_plain(region));
    if region.is_none() {
        field.expected("a region such as us-east-1");
    }
    region.map(str::to_owned)
}

/// A region becomes part of host names and ARNs.
fn is_plain(region: &str) -> bool {
    let mut bytes = region.bytes();
    !region.is_empty() && bytes.all(|it| it.is_ascii_alphanumeric() || it == b'-')
}

/// The SDK ignores an endpoint in the environment that is not a URL, and would call AWS.
fn check_endpoint_variables(env: Environment<'_>, errors: &Errors) {
    const ALL: &str = "AWS_ENDPOINT_URL";
    let of_services = Service::ALL.map(|it| format!("{ALL}_{}", it.name().to_ascii_uppercase()));
    for name in [ALL.to_owned()].into_iter().chain(of_services) {
        let url = (env.variable)(&name).filter(|url| !url.is_empty());
        let why = match url.map(|url| validate_url(&url)) {
            None | Some(Ok(())) => continue,
            Some(Err(UrlError::UserName)) => "user names in URLs are not supported; remove them",
            Some(Err(UrlError::Invalid)) => {
                "the value is not a URL such as http://127.0.0.1:4566; correct or unset it"
            }
        };
        errors.push(0, format!("{name}: {why}"));
    }
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

/// The authorities of `AWS_CA_BUNDLE`.
///
/// # Errors
/// They cannot be read.
pub(crate) fn ca_bundle(env: Environment<'_>) -> Result<Option<CaBundle>, String> {
    const VARIABLE: &str = "AWS_CA_BUNDLE";
    let Some(path) = (env.variable)(VARIABLE).filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let bundle = CaBundle::read(Path::new(&path));
    bundle.map(Some).map_err(|message| {
        format!("{VARIABLE}: {message}; name a PEM file of certificates, or unset the variable")
    })
}
