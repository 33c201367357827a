//! The servers' table.

use std::path::Path;

use super::catalog::{self, PORT, SERVERS};

#[test]
fn every_server_is_told_its_port_and_stays_on_loopback() {
    let dir = Path::new("/servers");
    for server in SERVERS {
        let launch = (server.launch)(dir);
        let mut told = launch.arguments.clone();
        told.extend(launch.variables.values().cloned());
        assert!(
            told.iter().any(|text| text.contains(PORT)),
            "{}",
            server.name
        );
        let by_itself = told.iter().any(|text| text.ends_with("127.0.0.1"));
        let by_library = launch.variables.contains_key("LD_PRELOAD");
        assert!(by_itself || by_library, "{}", server.name);
    }
}

#[test]
fn an_unknown_server_is_refused_with_the_names_there_are() {
    let error = catalog::server_named("localstack").err().unwrap();
    assert!(error.to_string().contains("elasticmq"), "{error}");
    assert_eq!(catalog::server_named("fauxqs").unwrap().name, "fauxqs");
}
