//! Who may call: access keys, by Signature Version 4, and bearer tokens.
//!
//! What needs no body is checked before it is read. A caller that is not known is told nothing but
//! what AWS tells it, and a caller with a valid signature or token always gets its answer.

use std::net::IpAddr;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderValue, Method};
use windlass_core::arn::ArnScope;
use windlass_core::time::Timestamp;

use crate::errors::{ApiError, Code};
use crate::requests;

mod canonical;
mod keys;
mod refusals;
mod signature;

pub use keys::{AccessKey, BearerToken, Role, Secret};

use keys::KeyRing;
use refusals::Refusals;
use signature::Claim;

/// The address of a caller, among the extensions of its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Whom a daemon admits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuthSettings {
    /// Every caller.
    #[default]
    None,
    Required {
        access_keys: Vec<AccessKey>,
        bearer_tokens: Vec<BearerToken>,
    },
}

impl AuthSettings {
    /// Writes the secrets that are new to their files. The log has their paths only.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save_new_secrets(&mut self) -> Result<(), String> {
        let Self::Required {
            access_keys,
            bearer_tokens,
        } = self
        else {
            return Ok(());
        };
        let keys = access_keys
            .iter_mut()
            .map(|key| (format!("access key {}", key.id), &mut key.secret));
        let tokens = bearer_tokens
            .iter_mut()
            .map(|token| (format!("bearer token {}", token.name), &mut token.token));
        for (what, secret) in keys.chain(tokens) {
            let saved = secret.save();
            let saved = saved.map_err(|error| format!("{what}: cannot write its secret: {error}"));
            if let Some(path) = saved? {
                tracing::info!("{what}: a new secret is in {}", path.display());
            }
        }
        Ok(())
    }
}

/// Admits or refuses requests.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// `None` admits every caller.
    keys: Option<KeyRing>,
    refusals: Refusals,
}

/// Who makes a request: an extractor of handlers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The id of its access key or the name of its token; where no keys are asked for, [`LOCAL`] or
    /// [`ANONYMOUS`].
    pub(crate) name: String,
    role: Role,
    has_token: bool,
}

/// A caller whose role is `admin`: an extractor of handlers that only read, but what `read_only` may
/// not see.
pub(crate) struct AdminCaller;

/// Names of callers where no keys are asked for: by loopback, and from elsewhere.
const LOCAL: &str = "local";
const ANONYMOUS: &str = "anonymous";

impl Gate {
    pub(crate) fn new(settings: AuthSettings) -> Self {
        let keys = match settings {
            AuthSettings::None => None,
            AuthSettings::Required {
                access_keys,
                bearer_tokens,
            } => Some(KeyRing::new(access_keys, bearer_tokens)),
        };
        Self {
            keys,
            refusals: Refusals::default(),
        }
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.keys.is_none()
    }

    /// Reads files of secrets again that have changed.
    pub(crate) fn refresh(&self) {
        if let Some(keys) = &self.keys {
            keys.refresh();
        }
    }

    /// Files of secrets that cannot be used any more.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.keys
            .as_ref()
            .map(KeyRing::problems)
            .unwrap_or_default()
    }

    /// Requests that were refused since the daemon started.
    pub(crate) fn refused(&self) -> u64 {
        self.refusals.total()
    }

    /// Returns the request of a caller that may make it, with its [`Caller`].
    pub(crate) async fn admit(
        &self,
        request: Request,
        home: &ArnScope,
        now: Timestamp,
    ) -> Result<Request, ApiError> {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
        let (mut parts, body) = request.into_parts();
        let Some(keys) = &self.keys else {
            parts.extensions.insert(Caller::without_key(peer));
            return Ok(Request::from_parts(parts, body));
        };
        match authenticate(keys, &parts, body, &home.region, now).await {
            Ok((caller, body)) => {
                authorize(&caller, &parts, home)?;
                parts.extensions.insert(caller);
                Ok(Request::from_parts(parts, body))
            }
            Err(error) => {
                tracing::debug!(?peer, path = parts.uri.path(), code = %error.code, "request refused");
                if self.refusals.count(peer) {
                    Err(error)
                } else {
                    Err(ApiError::new(Code::TooManyRequests, "Rate exceeded"))
                }
            }
        }
    }
}

impl Caller {
    fn without_key(peer: Option<IpAddr>) -> Self {
        let is_local = peer.is_some_and(|address| address.is_loopback());
        let name = if is_local { LOCAL } else { ANONYMOUS };
        Self {
            name: name.to_owned(),
            role: Role::Admin,
            has_token: false,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| {
            ApiError::new(
                Code::Service,
                "the caller of the request was not determined",
            )
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for AdminCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        match caller.role {
            Role::Admin => Ok(Self),
            Role::ReadOnly => {
                let (name, path) = (&caller.name, parts.uri.path());
                let text =
                    format!("{name} is not authorized to read {path}: its role is read_only");
                Err(ApiError::new(Code::AccessDenied, text))
            }
        }
    }
}

async fn authenticate(
    keys: &KeyRing,
    parts: &Parts,
    body: Body,
    region: &str,
    now: Timestamp,
) -> Result<(Caller, Body), ApiError> {
    if let Some(token) = bearer_token(parts) {
        let (name, role) = keys.token(&token).ok_or_else(unknown_caller)?;
        let caller = Caller {
            name,
            role,
            has_token: true,
        };
        return Ok((caller, body));
    }
    let is_presigned = parts.uri.query().is_some_and(|it| it.contains("X-Amz-"));
    if !parts.headers.contains_key(AUTHORIZATION) && !is_presigned {
        let text = "Missing Authentication Token";
        return Err(ApiError::new(Code::MissingAuthenticationToken, text));
    }
    let claim = Claim::parse(parts)?;
    // An access key of the configuration has no sessions.
    let has_session = parts.headers.contains_key("x-amz-security-token")
        || parts
            .uri
            .query()
            .is_some_and(|query| query.contains("X-Amz-Security-Token"));
    let key = keys.key(&claim.key_id).filter(|_| !has_session);
    let (secret, role) = key.ok_or_else(unknown_caller)?;
    claim.check(region, now)?;
    let body: Bytes = requests::read_body(parts.uri.path(), body).await?;
    claim.verify(parts, &body, &secret)?;
    let caller = Caller {
        name: claim.key_id,
        role,
        has_token: false,
    };
    Ok((caller, body.into()))
}

/// The token of `Authorization: Bearer TOKEN`.
fn bearer_token(parts: &Parts) -> Option<String> {
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none());
    let (scheme, token) = value.and_then(text)?.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    is_bearer.then(|| token.trim().to_owned())
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

fn unknown_caller() -> ApiError {
    let text = "The security token included in the request is invalid.";
    ApiError::new(Code::UnrecognizedClient, text)
}

/// Whether the role of a caller is enough. `read_only` admits the methods that read.
fn authorize(caller: &Caller, parts: &Parts, home: &ArnScope) -> Result<(), ApiError> {
    let (method, path) = (&parts.method, parts.uri.path());
    let denied = |text| Err(ApiError::new(Code::AccessDenied, text));
    if caller.has_token && requests::is_of_aws(path) {
        return denied(format!(
            "the bearer token '{}' does not open the API of AWS; sign the request with an access key",
            caller.name
        ));
    }
    let is_read = *method == Method::GET || *method == Method::HEAD;
    if caller.role == Role::ReadOnly && !is_read {
        let (partition, account, name) = (&home.partition, &home.account_id, &caller.name);
        let user = format!("arn:{partition}:iam::{account}:user/{name}");
        return denied(match requests::action(method, path) {
            Some(action) => format!(
                "User: {user} is not authorized to perform: {action} on resource: * because no \
                 identity-based policy allows the {action} action"
            ),
            None => {
                format!("User: {user} is not authorized to use {method}: its role is read_only")
            }
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Request as HttpRequest;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn gate() -> Gate {
        let token = BearerToken {
            name: "grafana".to_owned(),
            token: Secret::new("0123456789abcdef").unwrap(),
            role: Role::ReadOnly,
        };
        Gate::new(AuthSettings::Required {
            access_keys: Vec::new(),
            bearer_tokens: vec![token],
        })
    }

    fn home() -> ArnScope {
        ArnScope {
            partition: "aws".to_owned(),
            region: "us-east-1".to_owned(),
            account_id: "000000000000".to_owned(),
        }
    }

    async fn answer(gate: &Gate, address: &str, authorization: &str) -> Option<Code> {
        let mut request = HttpRequest::get("/metrics")
            .header(AUTHORIZATION, authorization)
            .body(Body::empty())
            .unwrap();
        let peer = Peer(address.parse().unwrap());
        request.extensions_mut().insert(peer);
        let admitted = gate.admit(request, &home(), NOW).await;
        admitted.err().map(|error| error.code)
    }

    #[tokio::test]
    async fn a_caller_has_the_name_of_its_token_or_of_where_it_is() {
        let name = async |gate: &Gate, address: Option<&str>| {
            let mut request = HttpRequest::get("/windlass/v1/history")
                .header(AUTHORIZATION, "Bearer 0123456789abcdef")
                .body(Body::empty())
                .unwrap();
            if let Some(address) = address {
                let peer = Peer(address.parse().unwrap());
                request.extensions_mut().insert(peer);
            }
            let admitted = gate.admit(request, &home(), NOW).await.unwrap();
            let (mut parts, _) = admitted.into_parts();
            let admin = AdminCaller::from_request_parts(&mut parts, &()).await;
            let caller = Caller::from_request_parts(&mut parts, &()).await.unwrap();
            (caller.name, admin.is_ok())
        };
        let open = Gate::new(AuthSettings::None);
        for (address, expected) in [
            (Some("127.0.0.1"), "local"),
            (Some("::1"), "local"),
            (Some("10.0.0.1"), "anonymous"),
            (None, "anonymous"),
        ] {
            assert_eq!(name(&open, address).await, (expected.to_owned(), true));
        }
        let of_token = name(&gate(), Some("127.0.0.1")).await;
        assert_eq!(of_token, ("grafana".to_owned(), false));
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_limited_by_address_and_valid_callers_never() {
        let (gate, valid) = (gate(), "Bearer 0123456789abcdef");
        for _ in 0..10 {
            let refused = answer(&gate, "10.0.0.1", "Bearer another").await;
            assert_eq!(refused, Some(Code::UnrecognizedClient));
        }
        for _ in 0..10 {
            let refused = answer(&gate, "10.0.0.1", "Bearer another").await;
            assert_eq!(refused, Some(Code::TooManyRequests));
            assert_eq!(answer(&gate, "10.0.0.1", valid).await, None);
        }
        let other = answer(&gate, "10.0.0.2", "Bearer another").await;
        assert_eq!(other, Some(Code::UnrecognizedClient));
        assert_eq!(gate.refused(), 21);
    }
}
