//! Checks tags, and the requests that read and change them.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_TagResource.html>

use serde_json::Value;

use crate::arn::{Arn, ArnScope};
use crate::mapping::MappingId;
use crate::spec::MappingSpec;
use crate::tags::{MAX_TAGS, Tags};
use crate::validate::violation::Violation;

const RESOURCE_PATTERN: &str = "arn:(aws[a-zA-Z-]*):lambda:[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:\\d{12}:(function:[a-zA-Z0-9-_]+(:(\\$LATEST|[a-zA-Z0-9-_]+))?|code-signing-config:csc-[a-z0-9]{17}|event-source-mapping:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|capacity-provider:[a-zA-Z0-9-_]+)";
const MAX_RESOURCE_LENGTH: usize = 256;

/// Lengths in characters.
const MAX_KEY_LENGTH: usize = 128;
const MAX_VALUE_LENGTH: usize = 256;

/// AWS keeps keys with this prefix, in any case, for itself.
const RESERVED_PREFIX: &str = "aws:";

/// The resource of a request about tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaggedResource {
    Mapping {
        scope: ArnScope,
        id: MappingId,
    },
    /// windlass has no such resource; this is the start of AWS's text about one that does not exist.
    Other {
        not_found: &'static str,
    },
}

/// Parses the ARN in the path of a request about tags.
///
/// # Errors
/// It is not the ARN of a resource that can have tags.
pub fn tagged_resource(text: &str) -> Result<TaggedResource, Vec<Violation>> {
    if MAX_RESOURCE_LENGTH < text.chars().count() {
        let constraint =
            format!("Member must have length less than or equal to {MAX_RESOURCE_LENGTH}");
        return Err(vec![Violation::constraint(
            "Resource",
            &format!("'{text}'"),
            &constraint,
        )]);
    }
    let malformed = || vec![Violation::mismatch("Resource", text, RESOURCE_PATTERN)];
    let arn = Arn::parse(text).map_err(|_| malformed())?;
    let account = arn.account_id();
    let is_well_formed = arn.partition().starts_with("aws")
        && arn.service() == "lambda"
        && arn.is_plain()
        && !arn.region().is_empty()
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit());
    if !is_well_formed {
        return Err(malformed());
    }
    let (kind, name) = arn.resource().split_once(':').ok_or_else(malformed)?;
    let other = |not_found, fits: bool| {
        let resource = TaggedResource::Other { not_found };
        fits.then_some(resource).ok_or_else(malformed)
    };
    match kind {
        "event-source-mapping" if is_uuid(name) => Ok(TaggedResource::Mapping {
            scope: ArnScope {
                partition: arn.partition().to_owned(),
                region: arn.region().to_owned(),
                account_id: account.to_owned(),
            },
            id: MappingId::new(&name.to_ascii_lowercase()),
        }),
        "function" => match name.split_once(':') {
            Some((name, qualifier))
                if is_name(name) && (qualifier == "$LATEST" || is_name(qualifier)) =>
            {
                let text = "Tags on function aliases and versions are not supported. Please specify a \
                            function ARN.";
                Err(vec![Violation::rule("Resource", text)])
            }
            _ => other("Function not found", is_name(name)),
        },
        "code-signing-config" => other("Code signing config not found", is_signing_config(name)),
        "capacity-provider" => other("Capacity provider not found", is_name(name)),
        _ => Err(malformed()),
    }
}

/// Checks the body of TagResource.
///
/// # Errors
/// Every violation.
pub fn tag_resource(body: &MappingSpec) -> Result<Tags, Vec<Violation>> {
    let Some(value) = body.get("Tags") else {
        return Err(vec![is_null("Tags")]);
    };
    let tags = Tags::from_json(value);
    let mut found = Vec::new();
    constraints("Tags", value, &mut found);
    let unknown = body.members().keys().find(|name| *name != "Tags");
    found.extend(unknown.map(|name| {
        let text = format!("{name} is not a parameter of TagResource.");
        Violation::rule(name, text)
    }));
    found.extend(rule(&tags));
    if found.is_empty() && tags.is_empty() {
        let text = "An error occurred and the request cannot be processed.";
        found.push(Violation::rule("Tags", text));
    }
    if found.is_empty() {
        Ok(tags)
    } else {
        Err(found)
    }
}

/// Checks the keys of UntagResource, which need not be those of tags.
///
/// # Errors
/// No keys are given.
pub fn untag_resource(keys: &[String]) -> Result<(), Vec<Violation>> {
    if keys.is_empty() {
        return Err(vec![is_null("TagKeys")]);
    }
    Ok(())
}

fn is_null(member: &str) -> Violation {
    Violation::constraint(member, "null", "Member must not be null")
}

/// Lengths and characters.
pub(super) fn constraints(member: &str, value: &Value, found: &mut Vec<Violation>) {
    let tags = Tags::from_json(value);
    let fits = |text: &str, min: usize, max: usize| {
        (min..=max).contains(&text.chars().count()) && text.chars().all(is_tag_character)
    };
    for (what, min, max, all_fit) in [
        (
            "keys",
            1,
            MAX_KEY_LENGTH,
            tags.iter().all(|(key, _)| fits(key, 1, MAX_KEY_LENGTH)),
        ),
        (
            "value",
            0,
            MAX_VALUE_LENGTH,
            tags.iter()
                .all(|(_, value)| fits(value, 0, MAX_VALUE_LENGTH)),
        ),
    ] {
        if all_fit {
            continue;
        }
        let shown: Vec<String> = tags
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let constraint = format!(
            "Map {what} must satisfy constraint: [Member must have length less than or equal to {max}, \
             Member must have length greater than or equal to {min}, Member must satisfy regular \
             expression pattern: ^([\\p{{L}}\\p{{Z}}\\p{{N}}_.:/=+\\-@]*)$]"
        );
        let shown = format!("'{{{}}}'", shown.join(", "));
        found.push(Violation::constraint(member, &shown, &constraint));
    }
}

/// Checks how many tags a mapping would have.
///
/// # Errors
/// There are more than [`MAX_TAGS`].
pub fn number_of_tags(tags: &Tags) -> Result<(), Vec<Violation>> {
    if tags.len() <= MAX_TAGS {
        return Ok(());
    }
    let text = "Number of tags exceeds resource tag limit.";
    Err(vec![Violation::rule("Tags", text)])
}

/// How many there are, and which keys.
pub(super) fn rule(tags: &Tags) -> Option<Violation> {
    if let Err(violations) = number_of_tags(tags) {
        return violations.into_iter().next();
    }
    let is_reserved = |key: &str| {
        key.get(..RESERVED_PREFIX.len())
            .is_some_and(|prefix| prefix.eq_ignore_ascii_case(RESERVED_PREFIX))
    };
    tags.iter().any(|(key, _)| is_reserved(key)).then(|| {
        let text = "aws: prefixed tag key names are not allowed for external use.";
        Violation::rule("Tags", text)
    })
}

/// `[\p{L}\p{Z}\p{N}_.:/=+\-@]`. Letters are taken by the standard library's word, which also has
/// the vowel signs of scripts that write them as marks.
fn is_tag_character(c: char) -> bool {
    c.is_alphanumeric() || (c.is_whitespace() && !c.is_control()) || "_.:/=+-@".contains(c)
}

fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !text.is_empty() && text.bytes().all(is_plain)
}

fn is_signing_config(text: &str) -> bool {
    text.strip_prefix("csc-").is_some_and(|id| {
        id.len() == 17
            && id
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

/// Hexadecimal digits in groups of 8, 4, 4, 4 and 12.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups
            .iter()
            .all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
