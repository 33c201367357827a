//! Credentials of a role, which STS gives for an hour.
//!
//! Whatever calls in the name of the role asks here: there is one call of STS at a time, and none
//! while the credentials are fresh. They are renewed before they expire, and stay in use if that fails.
//! A failure is kept for a while, as otherwise each shard would repeat it.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{self, error::CredentialsError};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::Instant;
use windlass_core::outcome::Fault;
use windlass_engine::ports::{PortError, chain};

use super::calls::Sts;
use super::credentials::Origin;
use super::fault::{port_error, unusable_response};
use super::roles::Role;
use super::server_clock::ServerClock;

/// Shown by the other account's logs.
const SESSION_NAME: &str = "windlass";

/// Limit of a call, below those of the calls that wait for it.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Credentials are renewed this long before they expire, or after three quarters of their time if
/// that is later.
const RENEWAL: Duration = Duration::from_secs(5 * 60);

/// A failed call is not repeated before this time has passed.
const MIN_RETRY: Duration = Duration::from_secs(5);

/// Credentials that seem to have expired when they come are used this long: clocks differ, and a
/// service rejects them if they have.
const MIN_LIFETIME: Duration = Duration::from_secs(60);

/// The role could not be assumed.
#[derive(Clone, Debug)]
pub(super) struct NotAssumed(Arc<PortError>);

impl NotAssumed {
    /// Of the call that needs the role. A resource is not gone because its role is.
    pub(super) fn fault(&self) -> Fault {
        let fault = self.0.fault;
        if fault == Fault::Gone {
            Fault::Denied
        } else {
            fault
        }
    }
}

impl fmt::Display for NotAssumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&chain(&*self.0))
    }
}

/// Its text has those of its causes.
impl Error for NotAssumed {}

/// The credentials of one role.
pub(super) struct AssumedRole {
    sts: Sts,
    role: Role,
    state: Mutex<State>,
    /// Held during the call.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    session: Option<Session>,
    failure: Option<(NotAssumed, Instant)>,
}

#[derive(Clone)]
struct Session {
    credentials: Credentials,
    renew_at: Instant,
    ends_at: Instant,
}

impl Session {
    fn new(credentials: Credentials, lifetime: Duration) -> Self {
        let lifetime = lifetime.max(MIN_LIFETIME);
        let fresh = lifetime.saturating_sub(RENEWAL).max(lifetime / 4 * 3);
        let now = Instant::now();
        Self {
            credentials,
            renew_at: now + fresh,
            ends_at: now + lifetime,
        }
    }
}

impl AssumedRole {
    pub(super) fn new(sts: &Sts, role: &Role) -> Self {
        Self {
            sts: sts.clone(),
            role: role.clone(),
            state: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    async fn credentials(&self) -> Result<Credentials, NotAssumed> {
        if let Some(result) = self.state().known() {
            return result;
        }
        let _turn = self.turn.lock().await;
        // Another caller may have made the call meanwhile.
        if let Some(result) = self.state().known() {
            return result;
        }
        let result = self.assume().await;
        let mut state = self.state();
        match result {
            Ok(session) => {
                let credentials = session.credentials.clone();
                *state = State {
                    session: Some(session),
                    failure: None,
                };
                Ok(credentials)
            }
            Err(error) => {
                let error = NotAssumed(Arc::new(error));
                tracing::warn!(role = %self.role.arn, %error, "cannot assume the role");
                state.failure = Some((error.clone(), Instant::now() + MIN_RETRY));
                state.known().unwrap_or(Err(error))
            }
        }
    }

    async fn assume(&self) -> Result<Session, PortError> {
        let operation = || format!("AssumeRole of {}", self.role.arn);
        let clock = ServerClock::default();
        let call = self.sts.assume_role();
        let call = call
            .role_arn(self.role.arn.as_str())
            .role_session_name(SESSION_NAME);
        let call = call.set_external_id(self.role.external_id.clone());
        let call = call.customize().interceptor(clock.clone());
        let response = tokio::time::timeout(TIMEOUT, call.send()).await;
        let response = response.map_err(|_| {
            let seconds = TIMEOUT.as_secs();
            unusable_response(operation(), format!("no response within {seconds} s"))
        })?;
        let response = response.map_err(|error| port_error(operation(), error))?;
        let unusable = |cause: &str| unusable_response(operation(), cause);
        let keys = response.credentials;
        let keys = keys.ok_or_else(|| unusable("the response has no credentials"))?;
        let expiry = SystemTime::try_from(keys.expiration);
        let expiry = expiry.map_err(|_| unusable("the expiration is not a time"))?;
        let lifetime = expiry.duration_since(clock.system_time());
        let credentials = Credentials::new(
            keys.access_key_id,
            keys.secret_access_key,
            Some(keys.session_token),
            None,
            "AssumeRole",
        );
        Ok(Session::new(credentials, lifetime.unwrap_or_default()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What a caller gets without a call: `None` if it is time for one.
    fn known(&self) -> Option<Result<Credentials, NotAssumed>> {
        let now = Instant::now();
        let session = self.session.as_ref().filter(|it| now < it.ends_at);
        let failure = self.failure.as_ref().filter(|(_, until)| now < *until);
        match (session, failure) {
            (Some(session), _) if now < session.renew_at => Some(Ok(session.credentials.clone())),
            (Some(session), Some(_)) => Some(Ok(session.credentials.clone())),
            (None, Some((error, _))) => Some(Err(error.clone())),
            (_, None) => None,
        }
    }
}

impl Origin for AssumedRole {
    fn load(&self) -> BoxFuture<'_, provider::Result> {
        let credentials = self.credentials();
        let credentials = credentials.map(|it| it.map_err(CredentialsError::provider_error));
        credentials.boxed()
    }

    fn forget(&self) {
        self.state().session = None;
    }
}
