//! Credential files that change while clients use them.

#![expect(
    deprecated,
    reason = "the new names are in a crate of the SDK that is not for users"
)]

use std::path::PathBuf;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
use futures::FutureExt as _;
use windlass_core::arn::{Arn, SourceArn};
use windlass_core::outcome::Fault;
use windlass_engine::ports::{PortError, chain};

use super::*;
use crate::aws::{Aws, AwsSettings, source_exists};
use crate::tests::test_http::TestHttp;

/// A file of profiles in a directory of its own, which is removed at the end.
struct Profiles(PathBuf);

impl Profiles {
    fn new(test: &str) -> Self {
        let name = format!("windlass-{test}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn file(&self) -> PathBuf {
        self.0.join("credentials")
    }

    fn write(&self, key: &str) {
        let text = format!("[default]\naws_access_key_id={key}\naws_secret_access_key=secret\n");
        std::fs::write(self.file(), text).unwrap();
    }

    /// Clients that find their credentials in the file alone.
    async fn clients(&self) -> (TestHttp, Aws) {
        let file = self.file();
        let credentials = CurrentCredentials::new(move || {
            let kind = ProfileFileKind::Credentials;
            let files = ProfileFiles::builder().with_file(kind, &file).build();
            let provider = ProfileFileCredentialsProvider::builder().profile_files(files);
            let provider = provider.profile_name("default").build();
            async move { Some(SharedCredentialsProvider::new(provider)) }.boxed()
        });
        let settings = AwsSettings {
            region: "us-east-1".to_owned(),
            ..AwsSettings::default()
        };
        let (http, _) = TestHttp::new();
        let aws = Aws::with(&settings, Some(http.shared()), Some(credentials)).await;
        (http, aws)
    }
}

impl Drop for Profiles {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

async fn call(aws: &Aws) -> Result<(), PortError> {
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/s";
    let clients = aws.clients_for(&Arn::parse(arn).unwrap());
    source_exists(&clients, &SourceArn::parse(arn).unwrap()).await
}

/// The keys that signed the calls since the last time.
fn keys(http: &TestHttp) -> Vec<String> {
    let requests = http.requests();
    let keys = requests.iter().map(|request| {
        let (_, rest) = request.headers["authorization"]
            .split_once("Credential=")
            .unwrap();
        rest.split('/').next().unwrap().to_owned()
    });
    keys.collect()
}

const DESCRIPTION: &str = r#"{"StreamDescriptionSummary":{"StreamName":"s","StreamARN":"a",
    "StreamStatus":"ACTIVE","RetentionPeriodHours":24,"StreamCreationTimestamp":1,
    "EnhancedMonitoring":[],"OpenShardCount":1}}"#;

#[tokio::test]
async fn rejected_credentials_are_looked_up_again() {
    for code in [
        "ExpiredTokenException",
        "ExpiredToken",
        "UnrecognizedClientException",
    ] {
        let profiles = Profiles::new(code);
        profiles.write("OLD");
        let (http, aws) = profiles.clients().await;
        http.respond_once(200, DESCRIPTION);
        call(&aws).await.unwrap();
        profiles.write("NEW");
        http.respond_once(200, DESCRIPTION);
        call(&aws).await.unwrap();
        assert_eq!(keys(&http), ["OLD", "OLD"], "valid ones are kept");
        http.respond_once(400, &format!(r#"{{"__type":"{code}"}}"#));
        assert_eq!(call(&aws).await.unwrap_err().fault, Fault::Denied);
        http.respond_once(200, DESCRIPTION);
        call(&aws).await.unwrap();
        assert_eq!(keys(&http), ["OLD", "NEW"], "{code}");
    }
}

#[tokio::test]
async fn credentials_that_stay_wrong_are_not_looked_up_at_every_call() {
    let profiles = Profiles::new("wrong");
    profiles.write("FIRST");
    let (http, aws) = profiles.clients().await;
    http.respond_with(400, &[], br#"{"__type":"InvalidClientTokenId"}"#);
    for key in ["SECOND", "THIRD", "FOURTH"] {
        call(&aws).await.unwrap_err();
        profiles.write(key);
    }
    assert_eq!(keys(&http), ["FIRST", "SECOND", "SECOND"]);
}

#[tokio::test]
async fn credentials_that_appear_are_found() {
    let profiles = Profiles::new("appear");
    let (http, aws) = profiles.clients().await;
    http.respond_with(200, &[], DESCRIPTION.as_bytes());
    let error = call(&aws).await.unwrap_err();
    assert_eq!(error.fault, Fault::Transient);
    assert!(chain(&error).contains("AWS credentials"), "{error:?}");
    profiles.write("KEY");
    call(&aws).await.unwrap();
    assert_eq!(keys(&http), ["KEY"]);
}

#[tokio::test]
async fn a_profile_of_aws_login_is_refused_with_a_remedy() {
    let profiles = Profiles::new("login");
    let text = "[default]\nlogin_session = arn:aws:iam::000000000000:user/admin\n";
    std::fs::write(profiles.file(), text).unwrap();
    let (_, aws) = profiles.clients().await;
    let text = chain(&call(&aws).await.unwrap_err());
    assert!(text.contains("'aws login'"), "{text}");
    assert!(
        text.contains("credential_process = aws configure export-credentials"),
        "{text}"
    );
    assert!(!text.contains("cargo"), "{text}");
}
