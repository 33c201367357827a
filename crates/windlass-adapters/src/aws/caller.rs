//! Whose the daemon's own credentials are, and where they come from.

use aws_credential_types::credential_feature::AwsCredentialFeature as Feature;
use aws_credential_types::provider::ProvideCredentials as _;
use windlass_engine::ports::{BoxError, PortError};

use super::fault::{port_error, unusable_response};
use super::{AwsClients, Service};

/// The credentials of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialsFound {
    pub access_key_id: String,
    /// Where they were found.
    pub origin: &'static str,
}

/// Of credentials that have been exchanged, the last one says how.
const ORIGINS: [(Feature, &str); 14] = [
    (
        Feature::CredentialsEnvVars,
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    (
        Feature::CredentialsEnvVarsStsWebIdToken,
        "a web identity token (AWS_WEB_IDENTITY_TOKEN_FILE)",
    ),
    (
        Feature::CredentialsStsAssumeRole,
        "a role of the AWS profile",
    ),
    (
        Feature::CredentialsStsAssumeRoleWebId,
        "a web identity token",
    ),
    (Feature::CredentialsProfile, "the AWS profile"),
    (
        Feature::CredentialsProfileSourceProfile,
        "the source profile of the AWS profile",
    ),
    (
        Feature::CredentialsProfileNamedProvider,
        "the credential source of the AWS profile",
    ),
    (
        Feature::CredentialsProfileStsWebIdToken,
        "a web identity token of the AWS profile",
    ),
    (
        Feature::CredentialsProfileSso,
        "the single sign-on of the AWS profile",
    ),
    (Feature::CredentialsSso, "single sign-on"),
    (
        Feature::CredentialsProfileProcess,
        "the credential process of the AWS profile",
    ),
    (Feature::CredentialsProcess, "a credential process"),
    (
        Feature::CredentialsHttp,
        "the endpoint of the container (ECS, EKS)",
    ),
    (Feature::CredentialsImds, "the role of the instance (EC2)"),
];

const OTHER_ORIGIN: &str = "the chain of AWS";

pub(crate) async fn credentials(
    clients: &AwsClients,
) -> Option<Result<CredentialsFound, BoxError>> {
    let current = clients.rules.credentials.as_ref()?;
    let found = current.provide_credentials().await.map(|found| {
        let features = found.get_property::<Vec<Feature>>();
        let last = features.and_then(|features| features.last());
        let origin = ORIGINS.iter().find(|(feature, _)| Some(feature) == last);
        CredentialsFound {
            access_key_id: found.access_key_id().to_owned(),
            origin: origin.map_or(OTHER_ORIGIN, |(_, origin)| origin),
        }
    });
    Some(found.map_err(Into::into))
}

pub(crate) async fn identity(clients: &AwsClients) -> Option<Result<String, PortError>> {
    const OPERATION: &str = "GetCallerIdentity";
    if clients.is_custom(Service::Sts) {
        return None;
    }
    let response = clients.sts.get_caller_identity().send().await;
    let identity = response.map_err(|error| port_error(OPERATION.to_owned(), error));
    Some(identity.and_then(|identity| {
        let missing = || unusable_response(OPERATION.to_owned(), "the response has no ARN");
        identity.arn.ok_or_else(missing)
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tests::test_http::TestHttp;

    const IDENTITY: &str = "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
        <GetCallerIdentityResult><Arn>arn:aws:iam::111122223333:role/windlass</Arn>\
        </GetCallerIdentityResult></GetCallerIdentityResponse>";

    #[tokio::test]
    async fn aws_alone_is_asked_who_the_caller_is() {
        let (http, mut clients) = TestHttp::new();
        clients.custom_endpoints = Arc::new([Service::Sts].into());
        assert!(identity(&clients).await.is_none());
        assert_eq!(http.requests().len(), 0);
        clients.custom_endpoints = Arc::default();
        http.respond(IDENTITY.as_bytes());
        let caller = identity(&clients).await.unwrap().unwrap();
        assert_eq!(caller, "arn:aws:iam::111122223333:role/windlass");
        let denied =
            b"<ErrorResponse><Error><Code>InvalidClientTokenId</Code></Error></ErrorResponse>";
        http.respond_with(403, &[], denied);
        assert!(identity(&clients).await.unwrap().is_err());
    }
}
