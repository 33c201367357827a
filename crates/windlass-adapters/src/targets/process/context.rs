//! What all processes of one function share, and the variables that they see.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_smithy_types::date_time::{DateTime, Format};
use windlass_core::arn::Arn;

use super::memory_groups::MemoryGroups;
use super::settings::ProcessFunction;

/// Its value is a random one for each process, and its descendants inherit it.
pub(super) const LOG_STREAM_NAME: &str = "AWS_LAMBDA_LOG_STREAM_NAME";

/// Memory that a function without a limit sees, in MiB: the default of AWS.
const DEFAULT_MEMORY: u64 = 128;

/// A function, as its processes need it.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) name: Arc<str>,
    pub(super) arn: Arn,
    pub(super) region: String,
    pub(super) function: ProcessFunction,
    pub(super) timeout: Duration,
    /// What it inherits, and the variables of the file.
    pub(super) variables: BTreeMap<OsString, OsString>,
    /// `None`: memory is limited by `RLIMIT_DATA`.
    pub(super) memory_groups: Option<Arc<MemoryGroups>>,
}

impl Context {
    pub(super) fn path(&self) -> Option<&OsStr> {
        self.variables
            .get(OsStr::new("PATH"))
            .map(OsString::as_os_str)
    }

    /// The variables of one process whose Runtime API has an address.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime>
    pub(super) fn environment(&self, api: SocketAddr) -> BTreeMap<OsString, OsString> {
        let mut variables = BTreeMap::new();
        let mut set = |name: &str, value: String| {
            variables.insert(OsString::from(name), OsString::from(value));
        };
        // Those that the file may set.
        set("AWS_REGION", self.region.clone());
        set("AWS_DEFAULT_REGION", self.region.clone());
        set("TZ", ":UTC".to_owned());
        for (name, value) in &self.variables {
            variables.insert(name.clone(), value.clone());
        }
        let mut set = |name: &str, value: String| {
            variables.insert(OsString::from(name), OsString::from(value));
        };
        let memory = self.function.memory.map(mebibytes);
        let memory = memory.unwrap_or(DEFAULT_MEMORY);
        set("AWS_LAMBDA_RUNTIME_API", api.to_string());
        set("AWS_LAMBDA_FUNCTION_NAME", self.name.to_string());
        set("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned());
        set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory.to_string());
        set("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned());
        set(
            "AWS_LAMBDA_LOG_GROUP_NAME",
            format!("/aws/lambda/{}", self.name),
        );
        set(LOG_STREAM_NAME, log_stream_name());
        if let Some(handler) = &self.function.handler {
            set("_HANDLER", handler.clone());
        }
        variables.insert(
            "LAMBDA_TASK_ROOT".into(),
            self.function.directory.clone().into(),
        );
        variables
    }
}

/// Rounded up.
pub(super) const fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1024 * 1024)
}

/// As on AWS: `2026/01/31/[$LATEST]` and 32 hexadecimal digits.
fn log_stream_name() -> String {
    let now = DateTime::from(SystemTime::now()).fmt(Format::DateTime);
    let date = now.unwrap_or_default().chars().take(10).collect::<String>();
    format!(
        "{}/[$LATEST]{:032x}",
        date.replace('-', "/"),
        fastrand::u128(..)
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_function_sees_the_variables_of_lambda() {
        let mut function = ProcessFunction::new(vec!["x".to_owned()], Path::new("/srv"));
        function.handler = Some("app.handler".to_owned());
        function.memory = Some(200 * 1024 * 1024 + 1);
        function
            .environment
            .insert("AWS_REGION".to_owned(), "eu-west-1".to_owned());
        let context = Context {
            name: "f".into(),
            arn: Arn::parse("arn:aws:lambda:us-east-1:000000000000:function:f").unwrap(),
            region: "us-east-1".to_owned(),
            timeout: Duration::from_secs(60),
            memory_groups: None,
            variables: function.variables([("TZ".into(), "Asia/Tokyo".into())].into_iter()),
            function,
        };
        let environment = context.environment(SocketAddr::from(([127, 0, 0, 1], 9001)));
        for (name, value) in [
            ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "201"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("TZ", "Asia/Tokyo"),
            ("_HANDLER", "app.handler"),
            ("LAMBDA_TASK_ROOT", "/srv"),
        ] {
            assert_eq!(environment[OsStr::new(name)], value, "{name}");
        }
        let stream = environment[OsStr::new("AWS_LAMBDA_LOG_STREAM_NAME")]
            .to_str()
            .unwrap();
        assert_eq!(stream.len(), "2026/01/31/[$LATEST]".len() + 32, "{stream}");
    }
}
