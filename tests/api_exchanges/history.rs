//! The pages of the history.

use serde_json::Value;
use windlass_engine::ports::{HistoryId, HistoryLine, RedriveLine, What};

use super::{Exchange, NOON};

#[test]
fn the_history_is_paged() {
    let exchange = Exchange::new();
    let mut expected = Vec::new();
    for number in 0..230 {
        let line = HistoryLine {
            id: HistoryId(number),
            time: NOON,
            who: number.to_string(),
            what: What::Redrive,
            mapping: None,
            before: Value::Null,
            after: Value::Null,
        };
        expected.insert(0, line.who.clone());
        let line = RedriveLine {
            line,
            redriven: Vec::new(),
            failed: 0,
        };
        let written = exchange.store.write_redrive(&line);
        exchange.runtime.block_on(written).unwrap();
    }
    let (mut seen, mut sizes) = (Vec::new(), Vec::new());
    let mut path = "/windlass/v1/history".to_owned();
    loop {
        let (status, page) = exchange.call("GET", &path);
        assert_eq!(status, 200, "{page}");
        let lines = page["history"].as_array().unwrap();
        sizes.push(lines.len());
        seen.extend(
            lines
                .iter()
                .map(|line| line["who"].as_str().unwrap().to_owned()),
        );
        let Some(marker) = page["next_marker"].as_str() else {
            break;
        };
        path = format!("/windlass/v1/history?marker={marker}");
    }
    assert_eq!(sizes, [100, 100, 30]);
    assert_eq!(seen, expected);
}
