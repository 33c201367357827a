//! Compares responses of the API with its OpenAPI document.

use serde_json::{Map, Value};

/// The methods that a path may have.
pub const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// An OpenAPI document.
#[derive(Debug)]
pub struct Document(Value);

impl Document {
    #[must_use]
    pub const fn new(document: Value) -> Self {
        Self(document)
    }

    /// Every path with its operations by method.
    ///
    /// # Panics
    /// The document has no paths.
    #[must_use]
    pub fn paths(&self) -> &Map<String, Value> {
        self.0["paths"].as_object().expect("a document has paths")
    }

    /// Whether the document has this operation.
    #[must_use]
    pub fn has(&self, path: &str, method: &str) -> bool {
        let operation = &self.0["paths"][path][method.to_ascii_lowercase()];
        operation.is_object()
    }

    /// Checks a response: its status, and that its body has the members of its schema and no others.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, method: &str, path: &str, status: u16, body: &Value) -> Result<(), String> {
        let path = path.split('?').next().unwrap_or_default();
        let fits = |template: &&String| fits(template, path);
        let Some(template) = self.paths().keys().find(fits) else {
            return Ok(());
        };
        if !self.has(template, method) {
            return Ok(());
        }
        let responses = &self.0["paths"][template][method.to_ascii_lowercase()]["responses"];
        let ranges = [status.to_string(), format!("{}XX", status / 100)];
        let response = ranges.iter().find_map(|range| responses.get(range));
        let response =
            response.ok_or_else(|| format!("{method} {template}: no response {status}"))?;
        let media = &self.resolve(response)["content"]["application/json"]["schema"];
        if media.is_null() {
            return Ok(());
        }
        self.compare(media, body, "")
            .map_err(|error| format!("{method} {template}, {status}: {error}"))
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let target = value["$ref"].as_str().and_then(|it| it.strip_prefix('#'));
        target.map_or(value, |pointer| {
            self.0.pointer(pointer).unwrap_or(&Value::Null)
        })
    }

    fn compare(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let schema = self.resolve(schema);
        if let Some(variants) = schema["oneOf"].as_array() {
            let fits = |it: &Value| self.compare(it, value, at).is_ok();
            return match variants.iter().any(fits) {
                true => Ok(()),
                false => Err(format!("{at}: no variant fits {value}")),
            };
        }
        if let Some(values) = schema["enum"].as_array()
            && !values.contains(value)
        {
            return Err(format!("{at}: {value} is not in {values:?}"));
        }
        if !has_type(&schema["type"], value) {
            return Err(format!("{at}: {value} is not of type {}", schema["type"]));
        }
        match value {
            Value::Object(members) => self.compare_members(schema, members, at),
            Value::Array(items) => {
                let mut items = items.iter().enumerate();
                items.try_for_each(|(index, item)| {
                    self.compare(&schema["items"], item, &format!("{at}[{index}]"))
                })
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }

    fn compare_members(
        &self,
        schema: &Value,
        members: &Map<String, Value>,
        at: &str,
    ) -> Result<(), String> {
        for name in schema["required"].as_array().into_iter().flatten() {
            if !members.contains_key(name.as_str().unwrap_or_default()) {
                return Err(format!("{at}: {name} is missing"));
            }
        }
        for (name, value) in members {
            let at = format!("{at}.{name}");
            match (
                schema["properties"].get(name),
                &schema["additionalProperties"],
            ) {
                (Some(schema), _) => self.compare(schema, value, &at)?,
                (None, Value::Bool(true)) => {}
                (None, others @ Value::Object(_)) => self.compare(others, value, &at)?,
                (None, _) => return Err(format!("{at} is not in the document")),
            }
        }
        Ok(())
    }
}

/// Whether a path is one of a template such as `/windlass/v1/mappings/{uuid}`.
fn fits(template: &str, path: &str) -> bool {
    let (parts, given) = (template.split('/'), path.split('/'));
    let have_same_length = parts.clone().count() == given.clone().count();
    let fit =
        |(part, given): (&str, &str)| part == given || (part.starts_with('{') && !given.is_empty());
    have_same_length && parts.zip(given).all(fit)
}

/// `types` is one type or several; nothing allows every type.
fn has_type(types: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap_or_default() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    };
    match types.as_array() {
        Some(types) => types.iter().any(is),
        None => types.is_null() || is(types),
    }
}
