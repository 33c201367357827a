//! The forms of a function's name, and the ARN to which each resolves.

use crate::arn::{Arn, ArnScope};

/// The parts of a `FunctionName` of the API.
///
/// A name (`resize`), a partial ARN (`111122223333:function:resize`, `111122223333:resize`,
/// `function:resize`) or an ARN, each with an optional qualifier: a version, an alias, `$LATEST` or
/// `$LATEST.PUBLISHED`.
///
/// <https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionName {
    /// `None` unless the text is a full ARN.
    pub scope: Option<ArnScope>,
    /// The account of a full or partial ARN.
    pub account_id: Option<String>,
    /// 1 to 64 characters.
    pub name: String,
    /// Exactly as given.
    pub qualifier: Option<String>,
}

impl FunctionName {
    /// `None` if the text has none of the forms.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || 256 < text.len() {
            return None;
        }
        if text.starts_with("arn:") {
            let arn = Arn::parse(text).ok()?;
            let rest = arn.resource().strip_prefix("function:")?;
            let scope = ArnScope {
                partition: arn.partition().to_owned(),
                region: arn.region().to_owned(),
                account_id: arn.account_id().to_owned(),
            };
            let complete = arn.service() == "lambda"
                && arn.is_plain()
                && !scope.region.is_empty()
                && is_account_id(&scope.account_id);
            return if complete {
                Self::from_tail(Some(scope), None, rest)
            } else {
                None
            };
        }
        let (account_id, rest) = match text.split_once(':') {
            Some((first, rest)) if is_account_id(first) => (Some(first.to_owned()), rest),
            _ => (None, text),
        };
        let rest = rest.strip_prefix("function:").unwrap_or(rest);
        Self::from_tail(None, account_id, rest)
    }

    /// Takes what the text leaves out from `home`. The qualifier stays exactly as given.
    pub fn resolve(&self, home: &ArnScope) -> Arn {
        let scope = self.scope.as_ref().unwrap_or(home);
        let account_id = self.account_id.as_ref().unwrap_or(&scope.account_id);
        let ArnScope {
            partition, region, ..
        } = scope;
        let name = &self.name;
        let mut text = format!("arn:{partition}:lambda:{region}:{account_id}:function:{name}");
        if let Some(qualifier) = &self.qualifier {
            text.push(':');
            text.push_str(qualifier);
        }
        Arn::parse(&text).expect("the text has all six parts")
    }

    fn from_tail(scope: Option<ArnScope>, account_id: Option<String>, tail: &str) -> Option<Self> {
        let (name, qualifier) = match tail.split_once(':') {
            Some((name, qualifier)) => (name, Some(qualifier)),
            None => (tail, None),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let name_fits = !name.is_empty() && name.len() <= 64 && name.chars().all(plain);
        let qualifier_fits = qualifier.is_none_or(|qualifier| {
            let alias = qualifier.strip_prefix('$').unwrap_or(qualifier);
            // The second is the published version of a function on managed instances.
            ["$LATEST", "$LATEST.PUBLISHED"].contains(&qualifier)
                || (alias.len() == qualifier.len()
                    && !alias.is_empty()
                    && alias.len() <= 128
                    && alias.chars().all(plain))
        });
        if !name_fits || !qualifier_fits {
            return None;
        }
        let account_id = scope
            .as_ref()
            .map(|scope| scope.account_id.clone())
            .or(account_id);
        Some(Self {
            scope,
            account_id,
            name: name.to_owned(),
            qualifier: qualifier.map(str::to_owned),
        })
    }
}

fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> ArnScope {
        ArnScope {
            partition: "aws".to_owned(),
            region: "eu-west-1".to_owned(),
            account_id: "000000000000".to_owned(),
        }
    }

    #[track_caller]
    fn resolves(text: &str, to: &str) {
        let name = FunctionName::parse(text).unwrap();
        assert_eq!(name.resolve(&home()).as_str(), to);
    }

    #[test]
    fn every_form_resolves_and_keeps_its_qualifier() {
        let local = "arn:aws:lambda:eu-west-1:000000000000:function:f";
        resolves("f", local);
        resolves("function:f", local);
        resolves("f:$LATEST", &format!("{local}:$LATEST"));
        resolves("f:$LATEST.PUBLISHED", &format!("{local}:$LATEST.PUBLISHED"));
        resolves("f:7", &format!("{local}:7"));
        let other = "arn:aws:lambda:eu-west-1:111122223333:function:f";
        resolves("111122223333:f", other);
        resolves("111122223333:function:f:live", &format!("{other}:live"));
        let far = "arn:aws-cn:lambda:cn-north-1:111122223333:function:f:live";
        resolves(far, far);
    }

    #[test]
    fn other_texts_are_not_function_names() {
        for text in [
            "",
            "a b",
            "f:",
            "f:$OTHER",
            "f:$LATEST.OTHER",
            "arn:aws:sqs:r:000000000000:q",
            "f:a:b",
            "arn:aws:lambda:us east:000000000000:function:f",
            "arn:aws:lambda:é:000000000000:function:f",
        ] {
            assert_eq!(FunctionName::parse(text), None, "{text}");
        }
    }
}
