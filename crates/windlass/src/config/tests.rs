//! Valid configurations, and the errors of invalid ones.

use windlass_adapters::targets::FunctionKind;
use windlass_admin::AuthSettings;
use windlass_engine::dead_letters::{Keep, OnFull};

use super::*;

fn variable(name: &str) -> Option<String> {
    (name == "SECRET").then(|| "hush".to_owned())
}

const EMPTY: Environment<'static> = with(&|_| None);

const fn with(variable: &dyn Fn(&str) -> Option<String>) -> Environment<'_> {
    Environment {
        variable,
        region_of_profile: &|| None,
        directory: None,
    }
}

#[track_caller]
fn errors(text: &str) -> Vec<(u32, String)> {
    let errors = Config::parse(text, with(&variable)).unwrap_err();
    errors.into_iter().map(|it| (it.line, it.message)).collect()
}

#[test]
fn no_file_is_the_defaults() {
    let config = Config::without_file(EMPTY).unwrap();
    assert_eq!(config.listen.address.to_string(), "127.0.0.1:9870");
    assert_eq!(config.store, "sqlite:./windlass-data");
    assert_eq!(config.adapters.aws.region, "us-east-1");
    assert_eq!(config.engine.drain_timeout, Duration::from_secs(25));
    assert!(config.engine.sqs_visibility_heartbeat);
    assert!(!config.metrics.per_shard);
}

#[test]
fn a_file_without_a_value_is_the_defaults_and_lists_no_mappings() {
    let defaults = Config::without_file(EMPTY).unwrap();
    for text in [
        "",
        "# later\n",
        "---\n",
        "---\n# later\n...\n",
        "null\n",
        "--- ~\n",
    ] {
        assert_eq!(Config::parse(text, EMPTY).unwrap(), defaults, "{text:?}");
        // `apply --prune` would otherwise delete every mapping.
        let errors = listed_mappings(text, &variable).unwrap_err();
        assert!(
            errors[0].message.contains("expected a list of mappings"),
            "{text:?}: {errors:?}"
        );
    }
}

#[test]
fn the_file_that_lists_every_key_is_the_defaults() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/windlass.yaml");
    let written = Config::load(Path::new(file), EMPTY).unwrap();
    assert_eq!(written, Config::without_file(EMPTY).unwrap());
}

#[test]
fn metrics_of_shards_are_an_option() {
    let config = Config::parse("metrics: {per_shard: true}", EMPTY).unwrap();
    assert!(config.metrics.per_shard);
    let found = errors("metrics:\n  per_shard: 1\n  per_queue: true\n");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].1.contains("metrics.per_shard"), "{found:#?}");
    assert!(found[1].1.contains("metrics.per_queue"), "{found:#?}");
}

#[test]
fn dead_letters_have_their_limits() {
    let text =
        "dead_letters: {keep: always, retention: 30d, maximum_size: 2MiB, on_full: drop_oldest}";
    let letters = Config::parse(text, EMPTY).unwrap().engine.dead_letters;
    assert_eq!(
        (letters.keep, letters.on_full),
        (Keep::Always, OnFull::DropOldest)
    );
    assert_eq!(letters.retention, Duration::from_hours(30 * 24));
    assert_eq!(letters.maximum_size, 2 << 20);
    let text = "dead_letters:\n  keep: sometimes\n  retention: 0s\n  maximum_size: 1KiB\n  on_full: drop\n  limit: 1\n";
    let found = errors(text);
    let lines: Vec<_> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [2, 3, 4, 5, 6], "{found:#?}");
    assert!(
        found[0].1.contains("no_destination, always, never"),
        "{found:#?}"
    );
    assert!(found[3].1.contains("hold, drop_oldest"), "{found:#?}");
}

#[test]
fn every_error_is_reported_with_its_line() {
    let text = "\
listen: 0.0.0.0:80
stroe: sqlite:x
sqs: {wait_time: 21s}
functions:
  a: {url: ftp://x, timeout: 30}
  b: {lambda: nothing}
  c: {command: [x]}
  d: {url: 'http://x', signing_secret: '${NONE}'}
mappings: {}
";
    let found = errors(text);
    let lines: Vec<_> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [1, 2, 3, 5, 5, 6, 7, 8, 9], "{found:#?}");
    assert!(found[0].1.contains("auth: none"));
    assert!(found[1].1.contains("stroe: unknown key, expected one of"));
}

#[test]
fn a_backoff_of_failed_messages_is_off_unless_it_is_given() {
    let backoff = |text| {
        let config = Config::parse(text, with(&variable)).unwrap();
        config.engine.sqs_retry_backoff
    };
    let default = RetryBackoff::default();
    assert_eq!(backoff("sqs: {}"), None);
    assert_eq!(backoff("sqs: {retry_backoff: null}"), None);
    assert_eq!(backoff("sqs: {retry_backoff: {}}"), Some(default));
    let given = backoff("sqs: {retry_backoff: {first: 0s, factor: '1.5', maximum: 12h}}");
    let expected = RetryBackoff {
        first: Duration::ZERO,
        factor: 1.5,
        maximum: Duration::from_secs(43_200),
    };
    assert_eq!(given, Some(expected));
}

#[test]
fn threads_are_auto_or_a_number() {
    let threads = |text| Config::parse(text, with(&variable)).unwrap().threads;
    assert_eq!(threads("threads: auto"), None);
    assert_eq!(threads("threads: 3"), Some(3));
    for wrong in ["0", "1025", "-1", "1.5", "many"] {
        assert_eq!(errors(&format!("threads: {wrong}")).len(), 1, "{wrong}");
    }
}

/// Pairs of lines: a configuration and, indented, how its only error starts.
fn pairs(text: &str) -> Vec<(&str, &str)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let lines: Vec<&str> = lines.collect();
    let pairs = lines.chunks_exact(2);
    assert!(pairs.remainder().is_empty());
    pairs.map(|pair| (pair[0], pair[1].trim())).collect()
}

#[test]
fn every_error_names_the_key_the_value_and_what_is_expected() {
    for (text, says) in pairs(include_str!("test_data/wrong_values.txt")) {
        let found = errors(&format!("# A comment.\n{text}\n"));
        let [(2, message)] = &found[..] else {
            panic!("{text}: {found:?}")
        };
        assert!(message.starts_with(says), "{text}\n{message}\n{says}");
    }
}

#[test]
fn values_that_may_be_secret_are_not_shown() {
    let variable = |name: &str| match name {
        "SECRET" => Some("hush-4711 hush-4711".to_owned()),
        "ARN" => {
            let arn = "arn:aws:dynamodb:us-east-1:000000000000:table/hush-4711/stream/2026";
            Some(arn.to_owned())
        }
        _ => None,
    };
    for (text, says) in pairs(include_str!("test_data/secret_values.txt")) {
        let found = Config::parse(text, with(&variable)).unwrap_err();
        let [ConfigError { message, .. }] = &found[..] else {
            panic!("{text}: {found:?}")
        };
        assert!(message.starts_with(says), "{text}\n{message}\n{says}");
        assert!(!message.contains("4711"), "{message}");
    }
}

#[test]
fn long_values_are_cut_in_errors() {
    let (_, message) = errors(&format!("region: '{}'", "é".repeat(10_000))).remove(0);
    let shown = format!("region: \"{}\"… is not a region", "é".repeat(100));
    assert!(message.starts_with(&shown), "{message}");
    let (_, message) = errors("region: \"a\\nb\\e\"").remove(0);
    assert!(
        message.starts_with(r#"region: "a\nb\u{1b}" is not"#),
        "{message}"
    );
}

#[test]
fn a_store_of_another_kind_is_refused_and_its_password_is_not_shown() {
    let (line, message) = errors("store: postgres://me:hush@db/x").remove(0);
    assert_eq!(line, 1);
    assert!(
        message.contains("sqlite:DIRECTORY") && !message.contains("hush"),
        "{message}"
    );
    let mut config = Config::without_file(EMPTY).unwrap();
    assert!(config.override_store("nowhere").is_err());
    assert!(config.override_store("sqlite:./data").is_ok());
}

#[test]
fn variables_and_functions_are_read() {
    let text = "\
functions:
  resize:
    url: http://127.0.0.1:9000/resize
    timeout: 30s
    maximum_concurrency: 10
    headers: {x-team: images}
    signing_secret: ${SECRET}
  local:
    url: http://127.0.0.1:9001/2015-03-31/functions/function/invocations
  audit:
    lambda: arn:aws:lambda:us-east-1:111122223333:function:audit
mappings:
  - FunctionName: resize
    EventSourceArn: arn:aws:sqs:us-east-1:000000000000:jobs
    BatchSize: 10
";
    let config = Config::parse(text, with(&variable)).unwrap();
    let resize = &config.adapters.functions["resize"];
    assert_eq!(resize.maximum_concurrency, Some(10));
    let FunctionKind::Http(function) = &resize.kind else {
        panic!("it has a url")
    };
    assert_eq!(function.signing_secret.as_deref(), Some("hush"));
    assert_eq!(
        config.adapters.functions["local"].maximum_concurrency,
        Some(1)
    );
    assert_eq!(config.mappings.len(), 1);
}

#[test]
fn a_lambda_function_may_have_a_longer_timeout_than_others() {
    let arn = "arn:aws:lambda:us-east-1:111122223333:function:f";
    let timeout = |kind: &str, timeout: &str| {
        let text = format!("functions: {{f: {{{kind}, timeout: {timeout}}}}}");
        Config::parse(&text, with(&variable)).map(|it| it.adapters.functions["f"].timeout)
    };
    let (lambda, url) = (format!("lambda: '{arn}'"), "url: 'http://x'");
    let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
    assert_eq!(timeout(&lambda, "90m").unwrap(), minutes(90));
    assert_eq!(timeout(url, "15m").unwrap(), minutes(15));
    assert_eq!(timeout(&lambda, "~").unwrap(), None, "its own");
    assert!(timeout(&lambda, "91m").is_err());
    assert!(timeout(url, "16m").is_err());
}

#[test]
fn mappings_are_checked_with_their_lines() {
    let text = "\
mappings:
  - {FunctionName: f, EventSourceArn: 'arn:aws:sqs:us-east-1:000000000000:q'}
  - FunctionName: f
    EventSourceArn: arn:aws:sqs:us-east-1:000000000000:q
  - {FunctionName: f, EventSourceArn: 'arn:aws:kinesis:us-east-1:000000000000:stream/s'}
  - {FunctionName: f, EventSourceArn: nothing, BatchSize: 0}
  - FunctionName: [f]
    EventSourceArn: arn:aws:sqs:us-east-1:000000000000:q
    BatchSize: ten
    Enabled: maybe
    ParallelizationFactor: 2
    FunctionResponseTypes: [ReportBatchItemFailures, 7]
    Unknown: 1
";
    let found = errors(text);
    let lines: Vec<_> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [3, 5, 6, 6, 7, 9, 10, 11, 12, 13], "{found:#?}");
    for (at, says) in [
        (0, "the mapping on line 2"),
        (1, "mappings[2]: StartingPosition: "),
        (4, "mappings[4]: FunctionName: expected text, found a list"),
        (5, "mappings[4]: BatchSize \"ten\" is not a whole number"),
        (6, "mappings[4]: Enabled \"maybe\" is not true or false"),
        (
            7,
            "mappings[4]: ParallelizationFactor 2: Unsupported ParallelizationFactor",
        ),
        (8, "mappings[4]: FunctionResponseTypes[1] 7 is not text"),
        (9, "mappings[4]: Unknown 1: Unsupported Unknown"),
    ] {
        assert!(found[at].1.contains(says), "{says}: {found:#?}");
    }
}

#[test]
fn variables_are_replaced_in_mappings() {
    let text = "\
functions: {f: {url: '${NONE}'}}
mappings:
  - FunctionName: f
    EventSourceArn: arn:aws:sqs:us-east-1:000000000000:q
    BatchSize: ${N:-7}
    Enabled: ${X:-false}
    MaximumBatchingWindowInSeconds: ${NONE}
";
    // Consequences of a variable that is not set are not reported.
    let found = errors(text);
    let lines: Vec<_> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [1, 7], "{found:#?}");
    let url = "functions.f.url: the variable NONE is not set";
    assert!(found[0].1.contains(url), "{found:#?}");
    let set = |name: &str| (name == "NONE").then(|| "http://127.0.0.1:9".to_owned());
    let text = text.replace("MaximumBatchingWindowInSeconds", "# ");
    let config = Config::parse(&text, with(&set)).unwrap();
    assert_eq!(config.mappings.len(), 1);
}

#[test]
fn duplicates_are_reported_with_all_other_errors() {
    let text = "\
listen: nowhere
region: us-east-1
region: us-east-2
mappings:
  - FunctionName: f
    EventSourceArn: arn:aws:sqs:us-east-1:000000000000:q
    BatchSize: 1
    BatchSize: 2
---
listen: 127.0.0.1:1
";
    let found = errors(text);
    let lines: Vec<_> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [1, 3, 8, 10], "{found:#?}");
    assert!(
        found[2]
            .1
            .contains("mappings[0].BatchSize: duplicate key, first defined on line 7")
    );
    assert!(found.iter().all(|(_, text)| !text.contains("Options")));
}

#[test]
fn an_address_that_others_can_reach_needs_auth() {
    let listen = |auth: &str| {
        let text = format!("listen: 0.0.0.0:9870\n{auth}\n");
        Config::parse(&text, EMPTY).map(|config| config.listen.auth)
    };
    assert_eq!(listen("auth: none"), Ok(Some(AuthSettings::None)));
    let token = "auth: {bearer_tokens: [{name: t, token: 0123456789abcdef, role: read_only}]}";
    let auth = listen(token).unwrap();
    assert!(
        matches!(auth, Some(AuthSettings::Required { .. })),
        "{auth:?}"
    );
    assert!(listen("").is_err());
}

const WRONG_KEYS: &str = "\
auth:
  access_keys:
    - {id: A, secret: 0123456789abcdef, role: admin}
    - {id: A, secret: 0123456789abcdef, role: admin}
    - {id: '', secret: 0123456789abcdef, role: admin}
    - {id: a/b, secret: '${SECRET}', role: admin}
    - {id: B, secret_file: /no/such/file, role: root}
    - {id: C, secret: 0123456789abcdef, secret_file: f, role: admin}
    - {id: D, secret: '', role: admin}
    - hush
  bearer_tokens:
    - {name: t, token: abc}
    - {token: 0123456789abcdef, role: admin, user: x}
listen: 0.0.0.0:9870
";

#[test]
fn keys_and_tokens_are_named_once_and_long_enough() {
    let found = errors(WRONG_KEYS);
    for (at, line, says) in [
        (
            0,
            4,
            "auth.access_keys[1].id: duplicate id, first defined on line 3",
        ),
        (1, 5, "auth.access_keys[2].id: is empty"),
        (
            2,
            6,
            "auth.access_keys[3].id: \"a/b\" is not 1 to 128 letters",
        ),
        (
            3,
            6,
            "auth.access_keys[3].secret: a secret has at least 16 characters",
        ),
        (
            4,
            7,
            "auth.access_keys[4].secret_file: cannot open /no/such/file: ",
        ),
        (
            5,
            7,
            "auth.access_keys[4].role: \"root\" is not admin or read_only",
        ),
        (
            6,
            8,
            "auth.access_keys[5]: exactly one of secret and secret_file is required",
        ),
        (7, 9, "auth.access_keys[6].secret: is empty"),
        (
            8,
            10,
            "auth.access_keys[7]: expected keys and values, found text",
        ),
        (
            9,
            12,
            "auth.bearer_tokens[0].token: a secret has at least 16 characters",
        ),
        (
            10,
            12,
            "auth.bearer_tokens[0]: role is required: admin or read_only",
        ),
        (11, 13, "auth.bearer_tokens[1]: name is required"),
        (12, 13, "auth.bearer_tokens[1].user: unknown key"),
    ] {
        let (at_line, message) = &found[at];
        assert_eq!(*at_line, line, "{found:#?}");
        assert!(message.starts_with(says), "{says}: {found:#?}");
    }
    assert_eq!(found.len(), 13, "{found:#?}");
    assert!(
        found
            .iter()
            .all(|(_, text)| !text.contains("hush") && !text.contains("abc"))
    );
}

#[test]
fn auth_names_somebody_and_never_shows_a_secret() {
    for (text, says) in [
        ("auth: {}", "auth: nobody could call"),
        ("auth: {access_keys: []}", "auth: nobody could call"),
        (
            "auth: {bearer_tokens: [{name: a, token: 0123456789abcdef, role: admin}, \
             {name: b, token: 0123456789abcdef, role: read_only}]}",
            "auth.bearer_tokens[1]: another entry has the same token",
        ),
        ("auth: sesame", "auth: expected none, or a map"),
        (
            "auth: {access_keys: {id: A}}",
            "auth.access_keys: expected a list",
        ),
    ] {
        let found = errors(text);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].1.starts_with(says), "{found:#?}");
        assert!(!found[0].1.contains("sesame"), "{found:#?}");
    }
}

#[test]
fn functions_that_cannot_be_called_are_refused_by_name() {
    let text = "\
region: ''
functions:
  a:
    url: http://127.0.0.1:9000/
    headers:
      content-length: '3'
      Host: elsewhere
      content-type: text/plain
      x-windlass-attempt: '1'
      x-team: images
      X-Team: others
  b: {url: 'http://user:pw@127.0.0.1:9000/'}
  c: {url: 'http://127.0.0.1:9000/', signing_secret: ''}
";
    let found = errors(text);
    for (at, line, says) in [
        (0, 1, "region: \"\" is not a region such as us-east-1"),
        (1, 6, "functions.a.headers.content-length: HTTP sets"),
        (2, 7, "functions.a.headers.Host: HTTP sets"),
        (
            3,
            8,
            "functions.a.headers.content-type: the body is JSON; remove",
        ),
        (
            4,
            9,
            "functions.a.headers.x-windlass-attempt: windlass sets",
        ),
        (5, 11, "functions.a.headers.X-Team: duplicate header"),
        (6, 12, "functions.b.url: user names in URLs"),
        (7, 13, "functions.c.signing_secret: is empty"),
    ] {
        assert_eq!(found[at].0, line, "{found:#?}");
        assert!(found[at].1.starts_with(says), "{says}: {found:#?}");
    }
    assert_eq!(found.len(), 8, "{found:#?}");
    assert!(found.iter().all(|(_, text)| !text.contains("pw@")));
}

#[test]
fn the_region_is_looked_up_where_aws_programs_look() {
    let find = |text: &str, set: &[(&str, &str)]| {
        let set = |name: &str| {
            let found = set.iter().find(|(it, _)| *it == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let env = Environment {
            variable: &set,
            directory: None,
            region_of_profile: &|| Some("eu-north-1".to_owned()),
        };
        Config::parse(text, env).unwrap().adapters.aws.region
    };
    let both = [("AWS_REGION", "a-1"), ("AWS_DEFAULT_REGION", "b-1")];
    assert_eq!(find("region: c-1", &both), "c-1");
    assert_eq!(find("", &both), "a-1");
    assert_eq!(find("", &both[1..]), "b-1");
    assert_eq!(find("", &[("AWS_REGION", "")]), "eu-north-1");
}

#[test]
fn variables_of_aws_that_would_be_ignored_are_refused_and_not_shown() {
    for (name, value, says) in [
        ("AWS_REGION", "us-east-1 ", "not a region such as us-east-1"),
        (
            "AWS_DEFAULT_REGION",
            "us:east",
            "not a region such as us-east-1",
        ),
        ("AWS_ENDPOINT_URL", "127.0.0.9:4566", "not a URL such as"),
        ("AWS_ENDPOINT_URL_SQS", "localhost", "not a URL such as"),
        (
            "AWS_ENDPOINT_URL_DYNAMODB_STREAMS",
            "http://a:70000",
            "not a URL such as",
        ),
        (
            "AWS_ENDPOINT_URL_KINESIS",
            "http://u:pw@a",
            "user names in URLs",
        ),
    ] {
        let variable = |it: &str| (it == name).then(|| value.to_owned());
        let found = Config::parse("", with(&variable)).unwrap_err();
        assert_eq!(found.len(), 1, "{found:?}");
        let message = &found[0].message;
        assert!(message.starts_with(&format!("{name}: ")), "{message}");
        assert!(message.contains(says), "{message}");
        assert!(!message.contains(value), "{message}");
    }
}

#[test]
fn a_bundle_that_cannot_be_read_is_refused() {
    for (path, says) in [
        ("/nowhere/at/all", "cannot read"),
        (concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "has no"),
    ] {
        let set = |name: &str| (name == "AWS_CA_BUNDLE").then(|| path.to_owned());
        let errors = Config::parse("region: ''", with(&set)).unwrap_err();
        assert_eq!(errors.len(), 2, "the errors of the file are reported too");
        let message = &errors[0].message;
        assert!(message.starts_with("AWS_CA_BUNDLE: "), "{message}");
        assert!(message.contains(says), "{message}");
        assert!(message.contains("unset the variable"), "{message}");
    }
}

#[test]
fn allowed_hosts_are_names_with_or_without_a_port() {
    let text = "allowed_hosts: [windlass.internal, 'proxy:8080']\n";
    let config = Config::parse(text, EMPTY).unwrap();
    assert_eq!(config.listen.allowed_hosts.len(), 2);
    let found = errors("allowed_hosts: [a, 'http://b', 7]\n");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].1.starts_with("allowed_hosts[1]: "), "{found:#?}");
}
