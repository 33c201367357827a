//! The roles that are assumed for what other accounts own.

use windlass_adapters::aws::{ArnPattern, Role, RoleRule};
use windlass_core::arn::Arn;

use super::reader::{Field, Section};
use super::yaml::Value;

/// The role of a function.
pub(super) fn read_role(field: Field<'_>) -> Option<Role> {
    if !matches!(field.node.value, Value::Map(_)) {
        field.expected_collection("a map with arn and external_id");
        return None;
    }
    role(&mut field.section())
}

/// The roles of sources and destinations, by patterns of their ARNs.
pub(super) fn read_rules(aws: &mut Section<'_>) -> Vec<RoleRule> {
    let Some(field) = aws.take("assume_roles") else {
        return Vec::new();
    };
    let Value::List(items) = &field.node.value else {
        field.expected_collection("a list");
        return Vec::new();
    };
    let mut patterns = Vec::new();
    let mut rules = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let item = field.child(item, &format!("[{index}]"));
        if !matches!(item.node.value, Value::Map(_)) {
            item.expected_collection("a map with resources, arn and external_id");
            continue;
        }
        let mut section = item.section();
        let resources = required(&mut section, "resources");
        let resources = resources.and_then(|field| pattern(&field, &mut patterns));
        let role = role(&mut section);
        rules.extend(
            resources
                .zip(role)
                .map(|(resources, role)| RoleRule { resources, role }),
        );
    }
    rules
}

fn role(section: &mut Section<'_>) -> Option<Role> {
    let arn = required(section, "arn");
    let external_id = section.take("external_id");
    let external_id = external_id.map(|field| external_id_of(&field.secret()));
    let arn = arn.and_then(|field| {
        let arn = field.node.text().and_then(|text| Arn::parse(text).ok());
        let arn = arn.filter(Role::is_arn);
        if arn.is_none() {
            field.expected("the ARN of a role such as arn:aws:iam::111122223333:role/reader");
        }
        arn
    });
    Some(Role {
        arn: arn?,
        external_id: match external_id {
            Some(id) => Some(id?),
            None => None,
        },
    })
}

fn required<'a>(section: &mut Section<'a>, name: &'static str) -> Option<Field<'a>> {
    let is_unset = section.is_unset(name);
    let field = section.take(name);
    if field.is_none() && !is_unset {
        section.error(format!("{name} is required"));
    }
    field
}

fn external_id_of(field: &Field<'_>) -> Option<String> {
    let id = field.node.text().filter(|id| Role::is_external_id(id));
    if id.is_none() {
        field.error("an external id has 2 to 1224 letters, digits and characters of _+=,.@:/-");
    }
    id.map(str::to_owned)
}

/// `patterns`: those before it, with their lines.
fn pattern(field: &Field<'_>, patterns: &mut Vec<(ArnPattern, u32)>) -> Option<ArnPattern> {
    let Some(text) = field.node.text() else {
        field.expected("text");
        return None;
    };
    let pattern = match ArnPattern::parse(text) {
        Ok(pattern) => pattern,
        Err(error) => {
            let example = "arn:aws:kinesis:*:111122223333:*";
            field.expected(&format!("a pattern such as {example}: {error}"));
            return None;
        }
    };
    let mut earlier = patterns.iter();
    if let Some((first, line)) = earlier.find(|(first, _)| first.covers(&pattern)) {
        if *first == pattern {
            field.error(format!("duplicate pattern, first on line {line}"));
        } else {
            field.error(format!(
                "never applies, since the pattern on line {line} matches all that it matches and the \
                 first that matches applies; move it before that one"
            ));
        }
    }
    patterns.push((pattern.clone(), field.node.line));
    Some(pattern)
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Environment};

    const EMPTY: Environment<'static> = Environment {
        variable: &|_| None,
        region_of_profile: &|| None,
        directory: None,
    };

    #[track_caller]
    fn errors(text: &str) -> Vec<(u32, String)> {
        let errors = Config::parse(text, EMPTY).unwrap_err();
        errors.into_iter().map(|it| (it.line, it.message)).collect()
    }

    #[test]
    fn roles_are_read() {
        let text = r#"
aws:
  endpoints: {sts: "http://127.0.0.1:4566/"}
  assume_roles:
    - {resources: "arn:aws:kinesis:*:111122223333:stream/a", arn: "arn:aws:iam::111122223333:role/a"}
    - resources: arn:aws:kinesis:*:111122223333:*
      arn: arn:aws:iam::111122223333:role/team/b
      external_id: their-id
functions:
  audit:
    lambda: arn:aws:lambda:us-east-1:111122223333:function:audit
    assume_role: {arn: "arn:aws:iam::111122223333:role/c"}
"#;
        let adapters = Config::parse(text, EMPTY).unwrap().adapters;
        let found = adapters.aws.assume_roles.iter().map(|rule| {
            let id = rule.role.external_id.as_deref();
            (rule.resources.as_str(), rule.role.arn.as_str(), id)
        });
        assert_eq!(
            found.collect::<Vec<_>>(),
            [
                (
                    "arn:aws:kinesis:*:111122223333:stream/a",
                    "arn:aws:iam::111122223333:role/a",
                    None
                ),
                (
                    "arn:aws:kinesis:*:111122223333:*",
                    "arn:aws:iam::111122223333:role/team/b",
                    Some("their-id")
                ),
            ]
        );
        let role = adapters.functions["audit"].assume_role.as_ref().unwrap();
        assert_eq!(role.arn.as_str(), "arn:aws:iam::111122223333:role/c");
        let endpoints: Vec<_> = adapters.aws.endpoints.values().collect();
        assert_eq!(endpoints, ["http://127.0.0.1:4566"]);
    }

    #[test]
    fn every_error_of_a_rule_has_its_line() {
        let text = r#"aws:
  assume_roles:
    - resources: arn:aws:sqs:*:111122223333:*
      arn: arn:aws:iam::111122223333:user/me
      external_id: "my secret"
    - resources: arn:aws:sqs:*:111122223333:*
      arn: arn:aws:iam::111122223333:role/a
    - resources: arn:aws:sqs:eu-west-1:111122223333:jobs
      arn: arn:aws:iam::111122223333:role/b
    - resources: "*"
      arn: arn:aws:iam::111122223333:role/a
    - resources: arn:aws:lambda:*:*:function:f
      arn: arn:aws:iam::111122223333:role/a
    - external: x
    - arn:aws:iam::111122223333:role/a
"#;
        let found = errors(text);
        let lines: Vec<_> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [4, 5, 6, 8, 10, 12, 14, 14, 14, 15], "{found:#?}");
        for (index, part) in [
            "aws.assume_roles[0].arn: \"arn:aws:iam::111122223333:user/me\" is not the ARN of a role",
            "aws.assume_roles[0].external_id: an external id has 2 to 1224",
            "duplicate pattern, first on line 3",
            "never applies, since the pattern on line 3 matches all",
            "\"*\" is not a pattern such as arn:aws:kinesis:*:111122223333:*",
            "assume_role beside lambda",
            "aws.assume_roles[5]: resources is required",
            "aws.assume_roles[5]: arn is required",
            "unknown key, expected one of resources, arn, external_id",
            "a map with resources, arn and external_id",
        ]
        .into_iter()
        .enumerate()
        {
            assert!(found[index].1.contains(part), "{part}: {found:#?}");
        }
        assert!(!format!("{found:?}").contains("my secret"), "{found:#?}");
    }

    #[test]
    fn a_role_belongs_to_a_lambda_function() {
        let text = r#"functions:
  a:
    url: http://127.0.0.1:9000/
    assume_role: {arn: "arn:aws:iam::111122223333:role/a"}
  b:
    lambda: arn:aws:lambda:us-east-1:111122223333:function:b
    assume_role: arn:aws:iam::111122223333:role/a
  c:
    lambda: arn:aws:lambda:us-east-1:111122223333:function:b
    assume_role: {external_id: x}
"#;
        let found = errors(text);
        let lines: Vec<_> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [4, 7, 10, 10], "{found:#?}");
        assert!(found[0].1.contains("only for a function with lambda"));
        assert!(found[1].1.contains("a map with arn and external_id"));
        assert!(found[2].1.contains("functions.c.assume_role"), "{found:#?}");
    }
}
