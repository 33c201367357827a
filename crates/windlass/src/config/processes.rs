//! Functions of the file that are programs on this machine.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use windlass_adapters::targets::process::ProcessFunction;

use super::Environment;
use super::reader::Field;
use super::yaml::Value;

/// The keys of such a function, next to `command`.
pub(super) const KEYS: [&str; 8] = [
    "directory",
    "handler",
    "environment",
    "inherit_environment",
    "processes",
    "idle_timeout",
    "memory",
    "init_timeout",
];

const MAX_PROCESSES: u64 = 1_000;

const IDLE_TIMEOUTS: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(24 * 3600));

/// AWS gives 10 seconds, and up to 15 minutes with provisioned concurrency.
const INIT_TIMEOUTS: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(15 * 60));

/// Less starts no runtime, and more than a machine has is not a limit.
const MEMORY: (u64, u64) = (8 << 20, 1 << 40);

pub(super) fn read(
    command: &Field<'_>,
    keys: [Option<Field<'_>>; KEYS.len()],
    env: Environment<'_>,
) -> Option<ProcessFunction> {
    let [
        directory,
        handler,
        environment,
        inherit_environment,
        processes,
        idle_timeout,
        memory,
        init_timeout,
    ] = keys;
    if !cfg!(target_os = "linux") {
        command.error("functions as local processes need Linux; give a url");
    }
    let words = texts(
        command,
        "a program and its arguments, such as [python3, app.py]",
    );
    if words.as_ref().is_some_and(Vec::is_empty) {
        command.error("is empty; write a program and its arguments");
    }
    let base = env.directory.unwrap_or(Path::new("."));
    let path = match directory.as_ref().and_then(Field::text) {
        Some(path) => base.join(path),
        None => base.to_owned(),
    };
    // Without a working directory of the daemon nothing can be found anyway.
    let path = std::path::absolute(&path).unwrap_or(path);
    let mut function = ProcessFunction::new(words.unwrap_or_default(), &path);
    function.handler = handler.as_ref().and_then(Field::text);
    if let Some(field) = environment {
        function.environment = variables(&field.secret());
    }
    if let Some(field) = &inherit_environment {
        function.inherit_environment = texts(field, "names such as [TEAM, TABLE_*]")?;
    }
    if let Some(field) = processes {
        (function.minimum_processes, function.maximum_processes) = read_processes(field);
    }
    if let Some(timeout) = idle_timeout.and_then(|field| field.duration(IDLE_TIMEOUTS)) {
        function.idle_timeout = timeout;
    }
    function.memory = memory.and_then(|field| field.size(MEMORY.0, MEMORY.1));
    if let Some(timeout) = init_timeout.and_then(|field| field.duration(INIT_TIMEOUTS)) {
        function.init_timeout = timeout;
    }
    if function.command.is_empty() {
        return None;
    }
    check_program(&function, command, directory.as_ref(), env);
    Some(function)
}

fn check_program(
    function: &ProcessFunction,
    command: &Field<'_>,
    directory: Option<&Field<'_>>,
    env: Environment<'_>,
) {
    let path = function.environment.get("PATH").cloned();
    let path = path.or_else(|| (env.variable)("PATH")).map(OsString::from);
    if let Err(message) = function.find_program(path.as_deref()) {
        let is_missing = !function.directory.is_dir();
        directory
            .filter(|_| is_missing)
            .unwrap_or(command)
            .error(message);
    }
}

/// `minimum` and `maximum`.
fn read_processes(field: Field<'_>) -> (usize, usize) {
    let mut section = field.section();
    let mut number = |name, min, default| {
        let field = section.take(name)?;
        let number = field.whole_number(min, MAX_PROCESSES);
        if number.is_none() {
            field.expected(&format!("a whole number from {min} to {MAX_PROCESSES}"));
        }
        usize::try_from(number.unwrap_or(default)).ok()
    };
    let minimum = number("minimum", 0, 0).unwrap_or(0);
    let maximum = number("maximum", 1, MAX_PROCESSES).unwrap_or_else(|| minimum.max(1));
    if maximum < minimum {
        section.error("minimum must not be above maximum");
    }
    (minimum.min(maximum), maximum)
}

/// A list of texts; `what` it should be otherwise. Numbers and booleans are their text.
fn texts(field: &Field<'_>, what: &str) -> Option<Vec<String>> {
    let Value::List(items) = &field.node.value else {
        field.expected(what);
        return None;
    };
    let items = items.iter().enumerate().map(|(index, node)| {
        let item = field.child(node, &format!("[{index}]"));
        scalar(&item)
    });
    items.collect()
}

fn variables(field: &Field<'_>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (key, node) in field.entries("names and values") {
        let variable = field.child(node, &format!(".{}", key.name));
        if let Some(message) = refusal(&key.name) {
            variable.error_at(key.line, message);
        } else if let Some(value) = scalar(&variable) {
            variables.insert(key.name.clone(), value);
        }
    }
    variables
}

/// Why a variable cannot be set.
fn refusal(name: &str) -> Option<&'static str> {
    let is_set =
        name.starts_with("AWS_LAMBDA_") || ["_HANDLER", "LAMBDA_TASK_ROOT"].contains(&name);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if is_set {
        Some("windlass sets this variable; remove it, or use another name")
    } else if name.is_empty() || !name.chars().all(is_plain) || name.starts_with(char::is_numeric) {
        Some(
            "a variable's name has letters, digits and underscores, and does not start with a digit",
        )
    } else {
        None
    }
}

/// Text, or a number or boolean as the file spells it.
fn scalar(field: &Field<'_>) -> Option<String> {
    match &field.node.value {
        Value::Text(text) if text.contains('\0') => {
            field.error("contains a NUL character");
            None
        }
        Value::Text(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => field.node.shown(),
        Value::Null => Some(String::new()),
        Value::Unset => None,
        Value::List(_) | Value::Map(_) => {
            field.expected("text");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use windlass_adapters::targets::{FunctionKind, FunctionSettings};

    use super::super::Config;
    use super::*;

    fn parse(function: &str) -> Result<FunctionSettings, Vec<String>> {
        let env = Environment {
            variable: &|name| (name == "PATH").then(|| "/bin".to_owned()),
            region_of_profile: &|| None,
            directory: Some(Path::new("/bin")),
        };
        let config = Config::parse(&format!("functions:\n  f:\n{function}"), env);
        let config = config.map_err(|errors| {
            let errors = errors.into_iter();
            let texts = errors.map(|error| format!("{}: {}", error.line, error.message));
            texts.collect::<Vec<_>>()
        })?;
        Ok(config.adapters.functions["f"].clone())
    }

    #[test]
    fn every_key_is_read() {
        let function = "    command: [sh, -c, 'exit 3', 5]
    directory: /usr
    handler: app.handler
    environment: {TABLE: words, COUNT: 3, VERSION: 1.50, ENABLED: True, EMPTY: ''}
    inherit_environment: [TEAM_*]
    processes: {minimum: 2, maximum: 3}
    idle_timeout: 1m
    init_timeout: 5s
    memory: 256MiB
    timeout: 3s
";
        let settings = parse(function).unwrap();
        assert_eq!(settings.maximum_concurrency, Some(3));
        assert_eq!(settings.timeout, Some(Duration::from_secs(3)));
        let FunctionKind::Process(function) = settings.kind else {
            panic!("it has a command")
        };
        let pairs = [
            ("TABLE", "words"),
            ("COUNT", "3"),
            ("VERSION", "1.50"),
            ("ENABLED", "True"),
            ("EMPTY", ""),
        ];
        let expected = ProcessFunction {
            command: ["sh", "-c", "exit 3", "5"].map(str::to_owned).to_vec(),
            directory: PathBuf::from("/usr"),
            handler: Some("app.handler".to_owned()),
            environment: pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            inherit_environment: vec!["TEAM_*".to_owned()],
            minimum_processes: 2,
            maximum_processes: 3,
            idle_timeout: Duration::from_secs(60),
            memory: Some(256 << 20),
            init_timeout: Duration::from_secs(5),
        };
        assert_eq!(function, expected);
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let settings = parse("    command: [sh]\n").unwrap();
        assert_eq!(settings.maximum_concurrency, Some(1));
        let expected = ProcessFunction::new(vec!["sh".to_owned()], Path::new("/bin"));
        assert_eq!(settings.kind, FunctionKind::Process(expected));
    }

    #[test]
    fn mistakes_are_reported_with_their_lines() {
        for (function, says) in [
            ("    command: []\n", "3: functions.f.command: is empty"),
            (
                "    command: sh\n",
                "3: functions.f.command: \"sh\" is not a program and its arguments",
            ),
            (
                "    command: [no-such-program]\n",
                "3: functions.f.command: the program no-such-program was not found in PATH (/bin)",
            ),
            (
                "    command: [./no-such-program]\n",
                "3: functions.f.command: the program /bin/./no-such-program does not exist",
            ),
            (
                "    command: [sh]\n    directory: nowhere\n",
                "4: functions.f.directory: the directory /bin/nowhere does not exist",
            ),
            (
                "    command: [sh]\n    headers: {a: b}\n",
                "4: functions.f.headers: only for a function with a url",
            ),
            (
                "    url: http://x\n    processes: {maximum: 2}\n",
                "4: functions.f.processes: only for a function with a command",
            ),
            (
                "    command: [sh]\n    maximum_concurrency: 2\n",
                "4: functions.f.maximum_concurrency: only without a command",
            ),
            (
                "    command: [sh]\n    environment: {AWS_LAMBDA_X: 1}\n",
                "4: functions.f.environment.AWS_LAMBDA_X: windlass sets this variable",
            ),
            (
                "    command: [sh]\n    handler: \"a\\0\"\n",
                "4: functions.f.handler: contains a NUL character",
            ),
            (
                "    command: [sh]\n    environment: {LIST: [1]}\n",
                "4: functions.f.environment.LIST: expected text, found a list",
            ),
            (
                "    command: [sh]\n    processes: {minimum: 3, maximum: 2}\n",
                "4: functions.f.processes: minimum must not be above maximum",
            ),
            (
                "    command: [sh]\n    memory: 1\n",
                "4: functions.f.memory: 1 is not a size such as",
            ),
            (
                "    command: [sh]\n    url: http://x\n",
                "functions.f: exactly one of url, command and lambda is required",
            ),
        ] {
            let errors = parse(function).unwrap_err();
            assert!(
                errors.iter().any(|error| error.contains(says)),
                "{says} not in {errors:?}"
            );
        }
    }
}
