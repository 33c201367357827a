//! Examples that need nothing installed.

use windlass_tests::examples;

#[tokio::test]
async fn bash() {
    let dir = examples::copy("bash").unwrap();
    examples::run(&dir, &[]).await.unwrap();
}
