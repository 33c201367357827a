//! Tests of the servers' table.

use std::path::Path;

use super::catalog::{self, PORT, SERVERS};

#[test]
fn every_server_gets_its_port_and_listens_on_loopback_only() {
    let dir = Path::new("/servers");
    for server in SERVERS {
        let launch = (server.launch)(dir);
        let mut texts = launch.arguments.clone();
        texts.extend(launch.variables.values().cloned());
        assert!(
            texts.iter().any(|text| text.contains(PORT)),
            "{}",
            server.name
        );
        let by_argument = texts.iter().any(|text| text.ends_with("127.0.0.1"));
        let by_preload = launch.variables.contains_key("LD_PRELOAD");
        assert!(by_argument || by_preload, "{}", server.name);
    }
}

#[test]
fn an_unknown_server_is_rejected_with_the_known_names() {
    let error = catalog::server_named("localstack").err().unwrap();
    assert!(error.to_string().contains("elasticmq"), "{error}");
    assert_eq!(catalog::server_named("fauxqs").unwrap().name, "fauxqs");
}
