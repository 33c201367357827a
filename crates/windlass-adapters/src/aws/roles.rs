//! Roles that are assumed for what other accounts own.

use std::fmt;

use thiserror::Error;
use windlass_core::arn::Arn;

/// A role, and what assuming it needs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Role {
    /// See [`Role::is_arn`].
    pub arn: Arn,
    /// See [`Role::is_external_id`].
    pub external_id: Option<String>,
}

/// The role for all sources and destinations that a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRule {
    pub resources: ArnPattern,
    pub role: Role,
}

/// Matches ARNs as the `Resource` of a policy does: `*` and `?` match within a part of the ARN, and in
/// the last one beyond its colons.
///
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html#reference_policies_elements_resource_wildcards>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArnPattern(Arn);

/// Why a pattern matches no source and no destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ArnPatternError {
    #[error("it has not the six parts of an ARN")]
    NoArn,
    #[error("functions have a role of their own, assume_role beside lambda")]
    Functions,
    #[error("it matches no ARN of kinesis, dynamodb, sqs, sns or s3")]
    OtherService,
    #[error("the ARN of a bucket is arn:aws:s3:::NAME, without a region, an account or a key")]
    NotABucket,
}

/// Services of sources and destinations.
const SERVICES: [&str; 5] = ["dynamodb", "kinesis", "s3", "sns", "sqs"];

impl Role {
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns>
    pub fn is_arn(arn: &Arn) -> bool {
        let account = arn.account_id();
        let is_account = account.len() == 12 && account.bytes().all(|it| it.is_ascii_digit());
        let path = arn.resource().strip_prefix("role/").unwrap_or_default();
        let is_plain = |c: char| c.is_ascii_graphic() && !c.is_ascii_whitespace() && c != '*';
        arn.service() == "iam"
            && arn.region().is_empty()
            && is_account
            && path.chars().all(is_plain)
            && !path.is_empty()
            && !path.ends_with('/')
    }

    /// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
    pub fn is_external_id(text: &str) -> bool {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c);
        (2..=1224).contains(&text.len()) && text.chars().all(is_plain)
    }
}

/// Without the external id: it is not a secret, but what another account chose to be told.
impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Role")
            .field("arn", &self.arn)
            .finish_non_exhaustive()
    }
}

impl ArnPattern {
    /// # Errors
    /// It matches no source and no destination.
    pub fn parse(text: &str) -> Result<Self, ArnPatternError> {
        let arn = Arn::parse(text).map_err(|_| ArnPatternError::NoArn)?;
        let [_, service, region, account, resource] = parts(&arn);
        if service == "lambda" {
            return Err(ArnPatternError::Functions);
        }
        if !SERVICES.iter().any(|name| matches(service, name)) {
            return Err(ArnPatternError::OtherService);
        }
        let is_bucket = matches(region, "") && matches(account, "") && !resource.contains('/');
        if service == "s3" && !is_bucket {
            return Err(ArnPatternError::NotABucket);
        }
        Ok(Self(arn))
    }

    pub fn matches(&self, arn: &Arn) -> bool {
        let mut pairs = parts(&self.0).into_iter().zip(parts(arn));
        pairs.all(|(pattern, text)| matches(pattern, text))
    }

    /// Whether it matches all that another one matches. Wildcards of the other one are matched by
    /// wildcards alone.
    pub fn covers(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

fn parts(arn: &Arn) -> [&str; 5] {
    [
        arn.partition(),
        arn.service(),
        arn.region(),
        arn.account_id(),
        arn.resource(),
    ]
}

/// Whether a text fits a pattern with `*` for any characters and `?` for one. A `*` of the text fits
/// only a `*`.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut position) = (0, 0);
    // The last `*` of the pattern, and where what it stands for ends.
    let mut star = None;
    while position < text.len() {
        let is_match = match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, position));
                at += 1;
                continue;
            }
            Some(b'?') => text[position] != b'*',
            Some(byte) => *byte == text[position],
            None => false,
        };
        if is_match {
            (at, position) = (at + 1, position + 1);
        } else if let Some((star_at, end)) = star {
            star = Some((star_at, end + 1));
            (at, position) = (star_at + 1, end + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> ArnPattern {
        ArnPattern::parse(text).unwrap()
    }

    #[test]
    fn patterns_match_as_in_policies() {
        let stream = "arn:aws:kinesis:eu-west-1:111122223333:stream/orders";
        for (text, arn, expected) in [
            ("arn:aws:kinesis:*:111122223333:*", stream, true),
            ("arn:*:kinesis:eu-*-1:*:stream/or?ers", stream, true),
            ("arn:aws:*:*:111122223333:*", stream, true),
            (stream, stream, true),
            ("arn:aws:kinesis:*:111122223333:stream/order", stream, false),
            ("arn:aws:kinesis:*:*:stream/*s*d", stream, false),
            ("arn:aws:kinesis:*:111122223334:*", stream, false),
            ("arn:aws-cn:kinesis:*:111122223333:*", stream, false),
            // A part does not reach into the next one, but the last one has colons.
            ("arn:aws:kinesis:*:*", "arn:aws:kinesis:a:1:s", false),
            (
                "arn:aws:kinesis:*:*:stream/s/*",
                "arn:aws:kinesis:a:1:stream/s/consumer/c:17",
                true,
            ),
            ("arn:aws:s3:::failed-*", "arn:aws:s3:::failed-orders", true),
            ("arn:aws:*:*:*:*", "arn:aws:s3:::failed-orders", true),
        ] {
            let matches = ArnPattern::parse(text).is_ok_and(|pattern| {
                let arn = Arn::parse(arn).unwrap();
                pattern.matches(&arn)
            });
            assert_eq!(matches, expected, "{text} {arn}");
        }
    }

    #[test]
    fn a_pattern_covers_another_one() {
        for (first, second, expected) in [
            ("arn:aws:sqs:*:*:*", "arn:aws:sqs:*:111122223333:*", true),
            ("arn:aws:sqs:*:1:a*", "arn:aws:sqs:*:1:ab*", true),
            ("arn:aws:sqs:*:1:a?", "arn:aws:sqs:*:1:a?", true),
            ("arn:aws:sqs:*:1:a?", "arn:aws:sqs:*:1:a*", false),
            ("arn:aws:sqs:*:1:ab*", "arn:aws:sqs:*:1:a*", false),
            ("arn:aws:sqs:eu-west-1:1:*", "arn:aws:sqs:*:1:*", false),
        ] {
            let covers = pattern(first).covers(&pattern(second));
            assert_eq!(covers, expected, "{first} {second}");
        }
    }

    #[test]
    fn patterns_that_match_nothing_are_rejected() {
        for (text, error) in [
            ("*", ArnPatternError::NoArn),
            ("arn:aws:kinesis:*", ArnPatternError::NoArn),
            ("arn:aws:lambda:*:*:*", ArnPatternError::Functions),
            ("arn:aws:iam::*:role/*", ArnPatternError::OtherService),
            ("arn:aws:s3:::bucket/*", ArnPatternError::NotABucket),
            ("arn:aws:s3:us-east-1:*:b", ArnPatternError::NotABucket),
        ] {
            assert_eq!(ArnPattern::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn arns_of_roles_are_recognized() {
        for (arn, expected) in [
            ("arn:aws:iam::111122223333:role/reader", true),
            ("arn:aws-cn:iam::111122223333:role/team/reader", true),
            ("arn:aws:iam::111122223333:user/reader", false),
            ("arn:aws:iam::111122223333:role/", false),
            ("arn:aws:iam::111122223333:role/*", false),
            ("arn:aws:iam::1111:role/reader", false),
            ("arn:aws:iam:us-east-1:111122223333:role/reader", false),
            ("arn:aws:sts::111122223333:assumed-role/reader/me", false),
        ] {
            assert_eq!(Role::is_arn(&Arn::parse(arn).unwrap()), expected, "{arn}");
        }
    }

    #[test]
    fn an_external_id_is_not_printed() {
        let role = Role {
            arn: Arn::parse("arn:aws:iam::111122223333:role/reader").unwrap(),
            external_id: Some("unguessable".to_owned()),
        };
        let text = format!("{role:?}");
        assert!(
            text.contains("reader") && !text.contains("unguessable"),
            "{text}"
        );
    }
}
