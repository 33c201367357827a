//! `windlass mappings apply`: what it shows, refuses and prunes, and how it continues after a failure.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use windlass_emulator::Emulator;
use windlass_tests::daemon::Daemon;
use windlass_tests::temp_dir::TempDir;

use crate::{Ended, FAILED, USAGE, run};

const MAPPINGS: &str = "/2015-03-31/event-source-mappings/";

/// A daemon with the function `f` and the queue `jobs` of an emulator, and one mapping of its
/// configuration.
struct Setup {
    dir: TempDir,
    emulator: Emulator,
    daemon: Daemon,
    /// ARN of `jobs`.
    queue: String,
}

impl Setup {
    async fn start(name: &str) -> Self {
        let dir = TempDir::new(name);
        let emulator = Emulator::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let emulator = emulator.await.expect("it starts");
        let queue = emulator.sqs().create_queue("jobs", &[]);
        let queue = queue.expect("it is new");
        let config = json!({
            "store": format!("sqlite:{}", dir.path().join("store").display()),
            "functions": {"f": {"url": "http://127.0.0.1:9"}, "g": {"url": "http://127.0.0.1:9"}},
            "aws": {"endpoints": {"sqs": emulator.endpoint()}},
            "mappings": [{"FunctionName": "g", "EventSourceArn": queue}],
        });
        let daemon = Daemon::start(dir.path(), &config.to_string()).await;
        let daemon = daemon.expect("it starts");
        Self {
            dir,
            emulator,
            daemon,
            queue,
        }
    }

    /// Applies the text of a file.
    async fn apply(&self, text: &str, options: &[&str]) -> Ended {
        let file = self.dir.path().join("list.yaml");
        std::fs::write(file, text).expect("the directory exists");
        let arguments = [
            "mappings",
            "apply",
            "--endpoint",
            &self.daemon.endpoint,
            "-f",
            "list.yaml",
        ];
        run(self.dir.path(), &[&arguments, options].concat()).await
    }

    async fn mappings(&self) -> Vec<Value> {
        let list = self.daemon.call("GET", MAPPINGS, None).await;
        let (_, list) = list.expect("the daemon responds");
        let list = list["EventSourceMappings"].as_array();
        list.expect("it is a list").clone()
    }

    /// The mapping of a function.
    async fn mapping(&self, function: &str) -> Option<Value> {
        let arn = format!("arn:aws:lambda:us-east-1:000000000000:function:{function}");
        let mut all = self.mappings().await.into_iter();
        all.find(|mapping| mapping["FunctionArn"] == *arn && mapping["State"] != "Deleting")
    }

    /// What the lines of the history say, the latest first.
    async fn history(&self) -> Vec<(String, String)> {
        let page = self.daemon.call("GET", "/windlass/v1/history", None).await;
        let (_, page) = page.expect("the daemon responds");
        let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let lines = page["history"].as_array().expect("it is a list");
        let lines = lines
            .iter()
            .map(|line| (text(line, "what"), text(line, "who")));
        lines.collect()
    }
}

/// A mapping of a file: of a function and the queue, with more members.
fn item(function: &str, queue: &str, more: &str) -> String {
    format!("- FunctionName: {function}\n  EventSourceArn: {queue}\n{more}")
}

#[tokio::test]
async fn a_file_is_applied_by_its_differences() {
    let setup = Setup::start("apply").await;
    let one = item("f", &setup.queue, "");
    let five = item("f", &setup.queue, "  BatchSize: 5\n");
    let dry = setup.apply(&five, &["--dry-run"]).await;
    dry.assert(0, &["create sqs jobs → f\n  BatchSize: 5\n"]);
    assert_eq!(setup.mapping("f").await, None);

    let ended = setup.apply(&five, &[]).await;
    ended.assert(
        0,
        &[
            "create sqs jobs → f\n  BatchSize: 5\n",
            "1 created, 0 updated, 0 deleted, 0 unchanged, 0 not done",
        ],
    );
    let first = setup.mapping("f").await.unwrap();
    assert_eq!(first["BatchSize"], 5);
    let uuid = first["UUID"].as_str().unwrap();
    setup.daemon.wait_for_state(uuid, "Enabled").await.unwrap();
    setup
        .apply(&five, &[])
        .await
        .assert(0, &["nothing differs"]);
    let modified = setup.mapping("f").await.unwrap()["LastModified"].clone();
    assert_eq!(first["LastModified"], modified);

    // A member that was removed from the file is reset to its default.
    let reset = setup.apply(&one, &["-o", "json"]).await;
    reset.assert(
        0,
        &["\"before\": 5", "\"after\": 10", "\"result\": \"done\""],
    );

    // Tags are changed without a change of the mapping, where the file has some.
    let shown = setup.mapping("f").await.unwrap();
    let arn = shown["EventSourceMappingArn"].as_str().unwrap();
    let path = format!("/2017-03-31/tags/{arn}");
    for (tags, expected) in [
        ("{a: '1', b: '2'}", json!({"a": "1", "b": "2"})),
        ("{b: '3', c: d e}", json!({"b": "3", "c": "d e"})),
        ("null", json!({"b": "3", "c": "d e"})),
        ("{}", json!({})),
    ] {
        let tagged = item("f", &setup.queue, &format!("  Tags: {tags}\n"));
        setup.apply(&tagged, &[]).await.assert(0, &[]);
        let (_, now) = setup.daemon.call("GET", &path, None).await.unwrap();
        assert_eq!(now["Tags"], expected);
    }
    let again = setup.mapping("f").await.unwrap();
    assert_eq!(shown["LastModified"], again["LastModified"]);

    // `Enabled` stays as it is where the file does not name it.
    let disabled = json!({"Enabled": false});
    let uuid = shown["UUID"].as_str().unwrap();
    setup.daemon.update_mapping(uuid, &disabled).await.unwrap();
    setup.daemon.wait_for_state(uuid, "Disabled").await.unwrap();
    setup.apply(&five, &[]).await.assert(0, &["1 updated"]);
    setup.daemon.wait_for_state(uuid, "Disabled").await.unwrap();
    let enabled = item("f", &setup.queue, "  BatchSize: 5\n  Enabled: true\n");
    setup
        .apply(&enabled, &[])
        .await
        .assert(0, &["  Enabled: false → true\n"]);
    setup.daemon.wait_for_state(uuid, "Enabled").await.unwrap();
    setup.daemon.stop().await.unwrap();
}

#[tokio::test]
async fn only_what_an_apply_has_created_is_pruned() {
    let setup = Setup::start("prune").await;
    let by_api = setup.emulator.sqs().create_queue("api", &[]).unwrap();
    let members = json!({"FunctionName": "f", "EventSourceArn": by_api});
    let by_api = setup.daemon.create_mapping(&members).await.unwrap();
    let other = setup.emulator.sqs().create_queue("other", &[]).unwrap();
    // An update does not change who has created a mapping.
    let all = [
        item("f", &setup.queue, ""),
        item("f", &other, ""),
        item("g", &setup.queue, "  BatchSize: 3\n"),
    ];
    let updated = "2 created, 1 updated, 0 deleted, 0 unchanged, 0 not done";
    setup
        .apply(&all.concat(), &["--prune"])
        .await
        .assert(0, &[updated]);
    let kept = "nothing differs";
    setup.apply(&all[0], &[]).await.assert(0, &[kept]);
    let dry = setup.apply(&all[0], &["--prune", "--dry-run"]).await;
    dry.assert(0, &["delete sqs other → f "]);
    assert!(!dry.text.contains("jobs"), "{}", dry.text);
    let deleted = "0 created, 0 updated, 1 deleted, 1 unchanged, 0 not done";
    setup
        .apply(&all[0], &["--prune"])
        .await
        .assert(0, &[deleted]);
    // No list is not an empty one.
    for text in ["---\n", "null\n", "# gone\n"] {
        let expected = ["expected a list of mappings"];
        setup
            .apply(text, &["--prune"])
            .await
            .assert(USAGE, &expected);
    }
    setup
        .apply("[]", &["--prune"])
        .await
        .assert(0, &["1 deleted"]);
    let left = setup.mappings().await;
    let left = left.iter().filter(|mapping| mapping["State"] != "Deleting");
    let left: Vec<_> = left.map(|mapping| &mapping["UUID"]).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.contains(&&json!(by_api)), "{left:?}");
    let history = setup.history().await;
    let count = |what: &str, who: &str| {
        let lines = history
            .iter()
            .filter(|line| line.0 == what && line.1 == who);
        lines.count()
    };
    let expected = [
        ("create", "configuration", 1),
        ("create", "local", 3),
        ("update", "local", 1),
        ("delete", "local", 2),
    ];
    for (what, who, times) in expected {
        assert_eq!(count(what, who), times, "{what}: {history:?}");
    }
    setup.daemon.stop().await.unwrap();
}

#[tokio::test]
async fn a_mapping_that_cannot_be_written_holds_up_no_other_and_nothing_is_pruned() {
    let setup = Setup::start("partial").await;
    let later = setup.queue.replace("jobs", "later");
    let both = [item("f", &later, ""), item("f", &setup.queue, "")];
    let gone = setup.emulator.sqs().create_queue("gone", &[]).unwrap();
    setup.apply(&item("f", &gone, ""), &[]).await.assert(0, &[]);
    let ended = setup.apply(&both.concat(), &["--prune"]).await;
    let says = [
        "1 created, 0 updated, 0 deleted, 0 unchanged, 2 not done",
        "error: sqs later → f: InvalidParameterValueException: Error occurred while ReceiveMessage",
        "error: sqs gone → f: not deleted, because another mapping could not be written",
    ];
    ended.assert(FAILED, &says);
    setup.emulator.sqs().create_queue("later", &[]).unwrap();
    let rest = "1 created, 0 updated, 1 deleted, 1 unchanged, 0 not done";
    setup
        .apply(&both.concat(), &["--prune"])
        .await
        .assert(0, &[rest]);
    setup.daemon.stop().await.unwrap();
}

#[tokio::test]
async fn mistakes_in_a_file_are_reported_with_their_lines_before_anything_changes() {
    let setup = Setup::start("mistakes").await;
    let good = item("f", &setup.queue, "");
    let same = item(
        "arn:aws:lambda:us-east-1:000000000000:function:f",
        &setup.queue,
        "",
    );
    for (text, says) in [
        (
            format!("{good}- FunctionName: f\n  EventSourceArn: nothing\n"),
            "list.yaml:4: [1]: EventSourceArn \"nothing\" is not the ARN of a",
        ),
        (
            format!("{good}{good}  BatchSize: many\n"),
            "list.yaml:5: [1]: BatchSize \"many\" is not a whole number",
        ),
        (
            format!("{good}  Batchsize: 5\n"),
            "list.yaml:3: [0]: Batchsize 5: ",
        ),
        (
            format!("{good}  EventSourceArn: x\n"),
            "list.yaml:3: [0].EventSourceArn: duplicate key",
        ),
        (
            format!("mappings:\n{good}  BatchSize: ${{NOT_THERE}}\n"),
            "list.yaml:4: ",
        ),
        (
            format!("{good}{same}"),
            "list.yaml:3: mappings[1]: mappings[0] has the same",
        ),
        ("- a\n b: [".to_owned(), "list.yaml:"),
        (
            "{}".to_owned(),
            "list.yaml:1: the file: expected a list of mappings",
        ),
        (
            String::new(),
            "list.yaml:1: the file: expected a list of mappings",
        ),
        (
            "- 5".to_owned(),
            "list.yaml:1: [0]: expected the members of",
        ),
    ] {
        setup
            .apply(&text, &["--prune"])
            .await
            .assert(USAGE, &[says]);
        assert_eq!(setup.mapping("f").await, None, "{text}");
    }
    let missing = ["mappings", "apply", "-f", "missing.yaml"];
    let ended = run(setup.dir.path(), &missing).await;
    ended.assert(USAGE, &["missing.yaml"]);
    setup.daemon.stop().await.unwrap();
}
