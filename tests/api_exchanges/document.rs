//! The document of windlass's own API, compared with the server.

use std::sync::OnceLock;

use windlass_tests::openapi::{Document, METHODS};

use super::Exchange;

/// That the document has every route is a test of its own.
#[test]
fn the_server_has_the_operations_of_its_document_and_no_others() {
    let exchange = Exchange::new();
    for path in document().paths().keys() {
        let parts = path.split('/');
        let parts: Vec<_> = parts
            .map(|part| if part.starts_with('{') { "x" } else { part })
            .collect();
        for method in METHODS {
            let (_, answer) = exchange.call(method, &parts.join("/"));
            let text = answer["message"].as_str().unwrap_or_default();
            let is_there = !text.starts_with("windlass has no operation at ");
            let is_described = document().has(path, method);
            assert_eq!(is_there, is_described, "{method} {path}: {answer}");
        }
    }
}

/// The document of windlass's own API, as a server returns it.
pub(super) fn document() -> &'static Document {
    static DOCUMENT: OnceLock<Document> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let exchange = Exchange::new();
        let (status, document) = exchange.call("GET", "/windlass/v1/openapi.json");
        assert_eq!(status, 200);
        Document::new(document)
    })
}
