//! Servers with a certificate of a private authority. The files are an authority made for these
//! tests, the certificate it issued to `localhost`, and its key; then two self-signed certificates,
//! as an authority's and as a server's, and their key. They are valid for a century.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use windlass_core::arn::SourceArn;
use windlass_core::mapping::MappingId;
use windlass_core::outcome::{Fault, Outcome};
use windlass_engine::ports::{Invocation, PortError, Purpose, Target, chain};

use super::*;
use crate::aws::{Aws, AwsSettings, Service, source_exists};
use crate::targets::{HttpFunction, HttpTarget};

fn file(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tls_roots/tests");
    PathBuf::from(folder).join(name)
}

fn bundle() -> CaBundle {
    CaBundle::read(&file("authority.pem")).unwrap()
}

/// A server at `https://localhost` that sends the same response to every request.
async fn server(response: &'static str) -> (String, JoinSet<()>) {
    server_with("server.pem", "server.key", response).await
}

async fn server_with(
    certificate: &str,
    key: &str,
    response: &'static str,
) -> (String, JoinSet<()>) {
    let certificates = CertificateDer::pem_file_iter(file(certificate)).unwrap();
    let key = PrivateKeyDer::from_pem_file(file(key)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates.collect::<Result<_, _>>().unwrap(), key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The handshake fails if the client does not trust the server.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = [0; 16 * 1024];
            if stream.read(&mut request).await.is_ok() {
                drop(stream.write_all(response.as_bytes()).await);
                drop(stream.shutdown().await);
            }
        }
    });
    (url, tasks)
}

#[tokio::test]
async fn functions_are_called_with_the_authorities_of_the_bundle() {
    let (url, _server) =
        server("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}").await;
    let invoke = async |ca_bundle| {
        let function = HttpFunction::new(&url);
        let target = HttpTarget::new(&function, Duration::from_secs(20), None, ca_bundle);
        let invocation = Invocation {
            event: Bytes::from_static(b"{}").into(),
            purpose: Purpose::Mapping(MappingId::new("14e0db71-5d35-4eb5-b481-8945cf9d10c2")),
            attempt: 1,
            max_item_failures: None,
            returns_state: false,
            origin: None,
        };
        match target {
            Ok(target) => target.invoke(invocation).await,
            // A machine without root certificates cannot connect.
            Err(_) => Outcome::NotInvoked {
                cause: Fault::Transient,
            },
        }
    };
    let not_connected = Outcome::NotInvoked {
        cause: Fault::Transient,
    };
    assert_eq!(invoke(None).await, not_connected);
    assert_eq!(invoke(Some(&bundle())).await, Outcome::Success);
}

const NOT_FOUND: &str = "HTTP/1.1 400 Bad Request\r\n\
    content-type: application/x-amz-json-1.1\r\nconnection: close\r\n\
    content-length: 38\r\n\r\n{\"__type\":\"ResourceNotFoundException\"}";

/// The error of a call to a server that knows no streams.
async fn call_source(url: &str, ca_bundle: Option<CaBundle>) -> PortError {
    let aws = Aws::load(&AwsSettings {
        region: "us-east-1".to_owned(),
        endpoints: BTreeMap::from([(Service::Kinesis, url.to_owned())]),
        placeholder_credentials: true,
        ca_bundle,
        ..AwsSettings::default()
    })
    .await;
    let source = SourceArn::parse("arn:aws:kinesis:us-east-1:000000000000:stream/s").unwrap();
    let found = source_exists(&aws.clients_for(source.arn()), &source).await;
    found.unwrap_err()
}

#[tokio::test]
async fn a_self_signed_certificate_is_accepted_or_the_error_says_how_to_make_one() {
    let key = "self_signed.key";
    let own = |name: &str| Some(CaBundle::read(&file(name)).unwrap());
    let (url, _server) = server_with("self_signed.pem", key, NOT_FOUND).await;
    let error = call_source(&url, own("self_signed.pem")).await;
    assert_eq!(error.fault, Fault::Gone, "{error:?}");

    let authority = "self_signed_authority.pem";
    let (url, _server) = server_with(authority, key, NOT_FOUND).await;
    let error = call_source(&url, own(authority)).await;
    let text = chain(&error);
    assert!(text.contains("CA:TRUE"), "{text}");
    assert!(text.contains("openssl req -x509"), "{text}");
    assert!(
        text.contains("basicConstraints=critical,CA:FALSE"),
        "{text}"
    );
}

#[tokio::test]
async fn sources_are_called_with_the_authorities_of_the_bundle() {
    let (url, _server) = server(NOT_FOUND).await;
    let fault_with = async |ca_bundle| call_source(&url, ca_bundle).await.fault;
    assert_eq!(fault_with(None).await, Fault::Transient);
    assert_eq!(fault_with(Some(bundle())).await, Fault::Gone);
}

#[test]
fn an_invalid_bundle_is_rejected_with_its_reason() {
    for (name, reason) in [
        ("nothing.pem", "cannot read"),
        ("mod.rs", "has no PEM certificate"),
        ("server.key", "has no PEM certificate"),
    ] {
        let error = CaBundle::read(&file(name)).unwrap_err();
        assert!(error.contains(name) && error.contains(reason), "{error}");
    }
}
