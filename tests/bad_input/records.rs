//! Records as no well-behaved producer makes them.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::Value;
use windlass_emulator::Emulator;
use windlass_tests::daemon::Daemon;
use windlass_tests::function::Function;
use windlass_tests::temp_dir::TempDir;
use windlass_tests::wait;

use crate::{TIMEOUT, one_mapping};

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn records_of_any_content_are_delivered_and_one_that_is_too_large_stops_nothing() {
    unusual_records().await.unwrap();
}

async fn unusual_records() -> anyhow::Result<()> {
    let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let arn = emulator.kinesis().create_stream("unusual", 1)?;
    let every_byte: Vec<u8> = (0..=u8::MAX).collect();
    let records = [
        ("k".to_owned(), Vec::new()),
        ("k".to_owned(), every_byte.repeat(3)),
        ("k".to_owned(), b"\"\\u0000\xff\xfe\xed\xa0\x80".to_vec()),
        // A key has 256 characters, whatever their bytes.
        ("x".repeat(256), b"{}".to_vec()),
        ("\u{1f980}".repeat(256), b"null".to_vec()),
        (
            "\"\\\u{0}\n\u{7f}\u{2028}</script>".to_owned(),
            vec![b' '; 7],
        ),
        ("k".to_owned(), vec![0xff; 4 * MIB]),
        // The largest that a stream can have; its event exceeds 6 MiB.
        ("k".to_owned(), vec![0; 10 * MIB]),
        ("k".to_owned(), b"last".to_vec()),
    ];
    for (key, data) in &records {
        emulator.kinesis().put("unusual", key, data)?;
    }
    let (dir, function) = (TempDir::new("unusual"), Function::start(200).await?);
    let config = one_mapping(dir.path(), &emulator.endpoint(), &arn, &function.url);
    let daemon = Daemon::start(dir.path(), &config.to_string()).await?;
    let n_records = records.len() - 1;
    wait::until("all have arrived", TIMEOUT, || {
        n_records <= function.records().len()
    })
    .await?;
    let uuid = daemon.only_mapping().await?;
    let counts = daemon.status(&uuid).await?["counts"].clone();
    assert_eq!(counts["dropped"], 1, "{counts}");
    assert_eq!(counts["dead_letters"], 1, "{counts}");
    let (_, letters) = daemon
        .call("GET", "/windlass/v1/dead-letters", None)
        .await?;
    let letter = &letters["dead_letters"][0];
    assert_eq!(letter["reason"], "RecordTooLarge", "{letters}");
    assert!(letter["bytes"].as_u64() > Some(10 << 20), "{letters}");
    let log = daemon.stop().await?;
    assert!(log.contains("they are kept as a dead letter"), "{log}");
    let delivered = records.iter().filter(|(_, data)| data.len() != 10 * MIB);
    let received = function.records();
    assert_eq!(received.len(), n_records, "each arrives once");
    for ((key, data), record) in delivered.zip(&received) {
        let record = &record["kinesis"];
        assert_eq!(record["partitionKey"], Value::from(key.as_str()));
        let text = record["data"].as_str().unwrap_or_default();
        assert!(*data == base64_simd::STANDARD.decode_to_vec(text)?, "{key}");
    }
    Ok(())
}
