//! Credentials that are looked up again when a service rejects them, or when there were none.
//!
//! The SDK reads credential files once, and caches for a quarter of an hour what it found. Sessions
//! expire earlier, and files are written while a daemon runs.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_smithy_runtime_api::client::identity::{
    IdentityFuture, ResolveCachedIdentity, SharedIdentityCache, SharedIdentityResolver,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::Instant;

/// Credentials are not looked up more often than this because they were rejected: if they stay
/// wrong, every call of every source is a rejection.
const MIN_LIFETIME: Duration = Duration::from_secs(5);

/// Where credentials come from.
pub(super) trait Origin: Send + Sync {
    fn load(&self) -> BoxFuture<'_, provider::Result>;

    /// What was loaded is not accepted: the next load begins anew.
    fn forget(&self);
}

/// Makes the chain of providers, which reads the files of AWS.
type MakeChain = dyn Fn() -> BoxFuture<'static, Option<SharedCredentialsProvider>> + Send + Sync;

/// The daemon's own credentials.
struct Chain {
    make: Box<MakeChain>,
    /// Kept while it works: the providers of machines and containers bridge outages with what they
    /// found last.
    current: Mutex<Option<SharedCredentialsProvider>>,
}

/// The credentials of all clients of one configuration, and their cache. Cheap to clone.
#[derive(Clone)]
pub(super) struct CurrentCredentials(Arc<Shared>);

struct Shared {
    origin: Box<dyn Origin>,
    new_cache: fn() -> SharedIdentityCache,
    state: Mutex<State>,
}

struct State {
    cache: SharedIdentityCache,
    dropped_at: Option<Instant>,
}

impl CurrentCredentials {
    pub(super) fn new(
        make_chain: impl Fn() -> BoxFuture<'static, Option<SharedCredentialsProvider>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let chain = Chain {
            make: Box::new(make_chain),
            current: Mutex::default(),
        };
        Self::with(chain, || IdentityCache::lazy().build())
    }

    /// Of an origin that caches its credentials.
    pub(super) fn of(origin: impl Origin + 'static) -> Self {
        Self::with(origin, IdentityCache::no_cache)
    }

    fn with(origin: impl Origin + 'static, new_cache: fn() -> SharedIdentityCache) -> Self {
        Self(Arc::new(Shared {
            origin: Box::new(origin),
            new_cache,
            state: Mutex::new(State {
                cache: new_cache(),
                dropped_at: None,
            }),
        }))
    }

    /// A service has rejected the credentials: the next call looks them up from the beginning.
    pub(super) fn rejected(&self) {
        let mut state = self.state();
        let now = Instant::now();
        let is_recent = |dropped_at: Instant| now.duration_since(dropped_at) < MIN_LIFETIME;
        if state.dropped_at.is_some_and(is_recent) {
            return;
        }
        state.dropped_at = Some(now);
        self.0.origin.forget();
        state.cache = (self.0.new_cache)();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chain {
    async fn credentials(&self) -> provider::Result {
        let kept = self.current().take();
        let chain = match kept {
            Some(chain) => chain,
            None => (self.make)()
                .await
                .ok_or_else(|| CredentialsError::not_loaded("no provider of credentials"))?,
        };
        let credentials = chain.provide_credentials().await?;
        *self.current() = Some(chain);
        Ok(credentials)
    }

    fn current(&self) -> MutexGuard<'_, Option<SharedCredentialsProvider>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Origin for Chain {
    fn load(&self) -> BoxFuture<'_, provider::Result> {
        self.credentials().boxed()
    }

    fn forget(&self) {
        *self.current() = None;
    }
}

impl ProvideCredentials for CurrentCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.0.origin.load())
    }
}

impl ResolveCachedIdentity for CurrentCredentials {
    fn resolve_cached_identity<'a>(
        &'a self,
        resolver: SharedIdentityResolver,
        components: &'a RuntimeComponents,
        config: &'a ConfigBag,
    ) -> IdentityFuture<'a> {
        let cache = self.state().cache.clone();
        IdentityFuture::new(async move {
            let identity = cache.resolve_cached_identity(resolver, components, config);
            identity.await
        })
    }
}

impl fmt::Debug for CurrentCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentCredentials").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
