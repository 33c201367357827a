//! A call that is made again and again with another body: the SDK builds its request once.
//!
//! A thousand idle shards are read a thousand times a second, and most of a call through the SDK finds
//! out again what it found out before: the endpoint, the headers, how to sign. So the SDK prepares
//! one call up to where it would sign it. Each further one only gets its body, is signed with the
//! credentials that the SDK has then, and is sent over the SDK's connections. Whatever applies to the
//! other calls applies to these, too: [`CallRules`], the [`ServerClock`], and that a lost connection
//! is tried once more.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::auth::AuthSchemeId;
use aws_smithy_runtime_api::client::http::{
    HttpClient as _, HttpConnector as _, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::identity::{
    Identity, ResolveCachedIdentity as _, SharedIdentityResolver,
};
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, Metadata};
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use aws_smithy_runtime_api::client::runtime_components::{
    GetIdentityResolver as _, RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SigningName;
use aws_types::region::SigningRegion;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::sync::OnceCell;

use super::call_rules::CallRules;
use super::raw::metadata;
use super::server_clock::ServerClock;

const SIGNATURE: AuthSchemeId = AuthSchemeId::new("sigv4");

/// Headers of one call, not of all.
const OF_ONE_CALL: [&str; 3] = ["amz-sdk-invocation-id", "amz-sdk-request", "content-length"];

pub(super) struct PreparedCall {
    /// With an empty body.
    request: HttpRequest,
    operation: Metadata,
    region: SigningRegion,
    service: SigningName,
    resolver: SharedIdentityResolver,
    connector: SharedHttpConnector,
    components: RuntimeComponents,
}

/// Prepares a call when it is first needed.
#[derive(Debug, Default)]
pub(super) struct PreparedOnce(OnceCell<PreparedCall>);

impl PreparedOnce {
    /// `call` makes the call through the SDK, with the interceptor that it is given.
    ///
    /// # Errors
    /// The SDK cannot prepare the call, for lack of credentials for example.
    pub(super) async fn get<E>(
        &self,
        call: impl AsyncFnOnce(Preparation) -> Result<(), SdkError<E, HttpResponse>>,
    ) -> Result<&PreparedCall, SdkError<E, HttpResponse>> {
        let prepare = async || {
            let preparation = Preparation::default();
            let result = call(preparation.clone()).await;
            match (preparation.take(), result) {
                (Some(prepared), _) => Ok(prepared),
                (None, Err(error)) => Err(error),
                (None, Ok(())) => Err(SdkError::construction_failure("the call is not signed")),
            }
        };
        self.0.get_or_try_init(prepare).await
    }
}

/// What every call obeys and tells.
pub(super) struct Watch<'a> {
    pub(super) rules: &'a CallRules,
    pub(super) clock: &'a ServerClock,
}

/// Takes the request of a call, and fails the call before it is sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Preparation(Arc<Mutex<Option<PreparedCall>>>);

impl Preparation {
    /// `None` if the SDK did not come as far as signing.
    fn take(self) -> Option<PreparedCall> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[dyn_dispatch_hint]
impl Intercept for Preparation {
    fn name(&self) -> &'static str {
        "Preparation"
    }

    fn read_before_signing(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let prepared = PreparedCall::new(context.request(), components, config)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(prepared);
        Err("prepared, not sent".into())
    }
}

impl PreparedCall {
    fn new(
        request: &HttpRequest,
        components: &RuntimeComponents,
        config: &ConfigBag,
    ) -> Result<Self, BoxError> {
        let mut template = HttpRequest::new(SdkBody::empty());
        template.set_method(request.method())?;
        template.set_uri(request.uri())?;
        let headers = request.headers().iter();
        for (name, value) in headers.filter(|(name, _)| !OF_ONE_CALL.contains(name)) {
            template
                .headers_mut()
                .append(name.to_owned(), value.to_owned());
        }
        // Those of the SDK, so that all calls share connections.
        let mut settings = HttpConnectorSettings::builder();
        if let Some(timeouts) = config.load::<TimeoutConfig>() {
            settings.set_connect_timeout(timeouts.connect_timeout());
            settings.set_read_timeout(timeouts.read_timeout());
        }
        let client = components.http_client().ok_or("no HTTP client")?;
        Ok(Self {
            request: template,
            operation: config.load::<Metadata>().cloned().ok_or("no operation")?,
            region: config
                .load::<SigningRegion>()
                .cloned()
                .ok_or("no region to sign for")?,
            service: config
                .load::<SigningName>()
                .cloned()
                .ok_or("no service to sign for")?,
            resolver: components
                .identity_resolver(SIGNATURE)
                .ok_or("no credentials")?,
            connector: client.http_connector(&settings.build(), components),
            components: components.clone(),
        })
    }

    /// Sends the call. The response of a success is returned as soon as it begins.
    pub(super) async fn send<E>(
        &self,
        body: Bytes,
        timeout: Duration,
        watch: &Watch<'_>,
        make_error: fn(ErrorMetadata) -> E,
    ) -> Result<HttpResponse, SdkError<E, HttpResponse>>
    where
        E: Error + Send + Sync + 'static,
    {
        let mut is_repeated = false;
        loop {
            let attempt = self.attempt(body.clone(), watch, make_error);
            let result = tokio::time::timeout(timeout, attempt).await;
            let Ok(result) = result else {
                let seconds = timeout.as_secs();
                let text = format!("no response within {seconds} s");
                return Err(SdkError::timeout_error(text));
            };
            let is_lost = matches!(&result, Err(SdkError::DispatchFailure(failure))
                if failure.is_io() || failure.as_other().is_some());
            if !is_lost || is_repeated {
                return result;
            }
            is_repeated = true;
        }
    }

    async fn attempt<E>(
        &self,
        body: Bytes,
        watch: &Watch<'_>,
        make_error: fn(ErrorMetadata) -> E,
    ) -> Result<HttpResponse, SdkError<E, HttpResponse>>
    where
        E: Error + Send + Sync + 'static,
    {
        // As the SDK reports what happens before a call is sent.
        let unsent = |error| SdkError::dispatch_failure(ConnectorError::other(error, None));
        let request = self.signed(body, watch.clock).await.map_err(unsent)?;
        let sent = Instant::now();
        let response = self.connector.call(request).await;
        let mut response = response.map_err(SdkError::dispatch_failure)?;
        watch.clock.handle_response(&response, sent.elapsed());
        watch.rules.bound(&mut response, &self.operation);
        if response.status().is_success() {
            return Ok(response);
        }
        let body = std::mem::replace(response.body_mut(), SdkBody::taken());
        match body.collect().await {
            Ok(body) => *response.body_mut() = SdkBody::from(body.to_bytes()),
            Err(error) => return Err(SdkError::response_error(error, response)),
        }
        watch.rules.check_credentials(&response);
        let body = response.body().bytes().unwrap_or_default();
        let error = make_error(metadata(&response, body));
        Err(SdkError::service_error(error, response))
    }

    async fn signed(&self, body: Bytes, clock: &ServerClock) -> Result<HttpRequest, BoxError> {
        let identity = self.identity().await?;
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region.as_ref())
            .name(self.service.as_ref())
            .time(clock.system_time())
            .settings(SigningSettings::default())
            .build()?;
        let headers = self.request.headers().iter();
        let (method, uri) = (self.request.method(), self.request.uri());
        let signable = SignableRequest::new(method, uri, headers, SignableBody::Bytes(&body))?;
        let (instructions, _) = sign(signable, &params.into())?.into_parts();
        let request = self.request.try_clone();
        let mut request = request.expect("an empty body can be cloned");
        for header in instructions.into_parts().0 {
            let value = header.value().to_owned();
            request.headers_mut().insert(header.name(), value);
        }
        *request.body_mut() = SdkBody::from(body);
        Ok(request)
    }

    async fn identity(&self) -> Result<Identity, BoxError> {
        let (cache, config) = (self.components.identity_cache(), ConfigBag::base());
        let identity =
            cache.resolve_cached_identity(self.resolver.clone(), &self.components, &config);
        let identity = identity.await?;
        match identity.data::<Credentials>() {
            Some(_) => Ok(identity),
            None => Err("the credentials are not of AWS".into()),
        }
    }
}

impl fmt::Debug for PreparedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedCall")
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}
