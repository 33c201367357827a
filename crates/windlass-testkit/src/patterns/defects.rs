//! Where AWS's library errs, by the way it is built.
//!
//! It keeps all tests of one field in a single automaton over bytes, in which a text stands with its
//! quotes and an address as hexadecimal digits. Some tests get in each other's way there. Lambda is
//! not known to have these mistakes, nobody would want them, and so we do not have them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Case;
use crate::naive_filter::address::address;
use crate::naive_filter::json::{Json, parse_beginning};

/// The tests of each path, of one sub-rule.
type Fields<'a> = BTreeMap<String, Vec<&'a Json>>;

/// The mistake of event-ruler 2.0.1 that a case could meet, if there is one.
///
/// It is a mere suspicion: most of these cases are answered well.
pub fn event_ruler_errs(case: &Case) -> Option<&'static str> {
    let pattern = parse_beginning(&case.pattern).ok()?;
    let event = parse_beginning(&case.event).unwrap_or(Json::Null);
    if holds_array(&event) && is_spelled_differently(&event) {
        // `{"b": [{"b": 0, "c": 1}], "b.c": 2}` does not match `{"b.b": [0], "b.c": [2]}`.
        return Some("what lies outside of an array is lost beside what lies inside");
    }
    if has_empty_name(&pattern) {
        // `{"a": 1}` matches `{"": {"a": [1]}}`, and `{"a": {"": 1}}` does not match itself.
        return Some("an empty name is lost at an end of a path");
    }
    let mut sub_rules = vec![Fields::new()];
    expand(&pattern, "", &mut sub_rules);
    if share_some_tests(&sub_rules) {
        // `"y"` does not match `{"$or": [{"a": ["x"]}, {"a": ["x", "y"]}]}`.
        return Some("a test is lost where another of its field stands in two branches");
    }
    // The sub-rules come into the automata one after the other.
    let mut fields = Fields::new();
    for (path, tests) in sub_rules.into_iter().flatten() {
        fields.entry(path).or_default().extend(tests);
    }
    let mistakes = fields.values().filter_map(|tests| mistake(tests, &event));
    mistakes.min()
}

fn expand<'a>(object: &'a Json, path: &str, sub_rules: &mut Vec<Fields<'a>>) {
    let Json::Object(members) = object else {
        return;
    };
    for (name, value) in members {
        match value {
            Json::Array(branches) if name == "$or" => {
                let all = branches.iter().flat_map(|branch| {
                    let mut copy = sub_rules.clone();
                    expand(branch, path, &mut copy);
                    copy
                });
                *sub_rules = all.collect();
            }
            Json::Array(tests) => {
                for fields in &mut *sub_rules {
                    fields.insert(format!("{path}{name}"), tests.iter().collect());
                }
            }
            Json::Object(_) | Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => {
                expand(value, &format!("{path}{name}."), sub_rules);
            }
        }
    }
}

fn mistake(tests: &[&Json], event: &Json) -> Option<&'static str> {
    let any = |is: fn(&Json) -> bool| tests.iter().any(|test| is(test));
    let is_wildcard = |test: &Json| mentions(test, "wildcard");
    if in_order(tests, &[&is_wildcard, &spreads_behind_wildcards]) {
        // `"5"` matches `[{"wildcard": "*b"}, {"equals-ignore-case": "a"}]`, and `"ß"` matches
        // `[{"wildcard": "*b"}, {"suffix": "É"}]`.
        return Some("what has several bytes or cases stands for others behind a wildcard");
    }
    let excludes_all = |test: &Json| mentions(test, "anything-but") && holds_text(test, "*");
    if in_order(tests, &[&is_exact, &excludes_all, &excludes_all]) {
        // `"b"` matches `{"a": ["x", {"anything-but": {"wildcard": ["*", "*c"]}}]}` beside an `$or`.
        return Some("a lone wildcard that stands in two branches excludes nothing");
    }
    for is_alike in [is_text, is_literal] {
        let is_exact_too = |test: &Json| is_alike(test) && is_exact(test);
        if in_order(tests, &[&is_exact_too, &moves_others, &is_alike]) {
            // `"abc"` does not match `["abc", {"numeric": [">", 1]}, "abd"]`.
            return Some("an exact value is lost when a range, or such, and a third test follow");
        }
    }
    if any(|test| matches!(test, Json::Number(_))) && any(|test| !addresses(test).is_empty()) {
        // `0.1` does not always match `[0.1, {"cidr": "::/7"}]`.
        return Some("a number and the digits of an address begin alike");
    }
    if any(|test| affix_holds(test, '"')) {
        // `"a"` matches `[{"prefix": "a\""}]`.
        return Some("the quotes around a text belong to it");
    }
    if any(|test| ignores_case(test) && holds(test, |char| '\u{ffff}' < char)) {
        // `"😀"` does not match `[{"equals-ignore-case": "😀"}]`.
        return Some("the halves of a surrogate pair are folded one by one");
    }
    if any(is_wide_block) && holds_number(event) {
        // `9` matches `[{"cidr": "128.0.0.0/1"}]`.
        return Some("a number is taken for the digits of an address");
    }
    let ours = tests.iter().flat_map(|test| addresses(test));
    let theirs = addresses(event);
    if ours.into_iter().any(|ours| {
        theirs
            .iter()
            .any(|theirs| ours.is_ipv4() != theirs.is_ipv4())
    }) {
        // `"a00::"` matches `[{"cidr": "10.0.0.0/8"}]`.
        return Some("an address is taken for the beginning of a longer one");
    }
    None
}

/// Whether there are such tests, one behind the other, with any others between them.
fn in_order(tests: &[&Json], wanted: &[&dyn Fn(&Json) -> bool]) -> bool {
    let mut tests = tests.iter();
    wanted.iter().all(|is| tests.any(|test| is(test)))
}

/// Whether it is, or holds, a match expression of this name.
fn mentions(test: &Json, wanted: &str) -> bool {
    match test {
        Json::Object(members) => {
            let mut members = members.iter();
            members.any(|(name, value)| name == wanted || mentions(value, wanted))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Array(_) => false,
    }
}

fn has_empty_name(json: &Json) -> bool {
    match json {
        Json::Object(members) => members
            .iter()
            .any(|(name, value)| name.split('.').any(str::is_empty) || has_empty_name(value)),
        Json::Array(elements) => elements.iter().any(has_empty_name),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => false,
    }
}

/// Whether two sub-rules have some tests of a field in common, and others not.
fn share_some_tests(sub_rules: &[Fields<'_>]) -> bool {
    sub_rules.iter().enumerate().any(|(place, ours)| {
        let pairs = sub_rules[..place].iter().flat_map(|theirs| {
            let common = ours.iter();
            common.filter_map(|(path, tests)| Some((tests, theirs.get(path)?)))
        });
        let mut different = pairs.filter(|(ours, theirs)| ours != theirs);
        different.any(|(ours, theirs)| {
            let mut ours = ours.iter();
            ours.any(|ours| theirs.iter().any(|theirs| may_be_the_same(ours, theirs)))
        })
    })
}

/// Whether two tests could be one for AWS's library, which knows several names for some.
fn may_be_the_same(one: &Json, other: &Json) -> bool {
    let is_number = |test: &Json| is_literal(test) || mentions(test, "numeric");
    let is_address = |test: &Json| !addresses(test).is_empty();
    one == other
        || is_number(one) && is_number(other)
        || is_address(one) && is_address(other)
        || mentions(one, "exactly")
        || mentions(other, "exactly")
}

fn ignores_case(test: &Json) -> bool {
    mentions(test, "equals-ignore-case")
}

fn spreads_behind_wildcards(test: &Json) -> bool {
    ignores_case(test) || mentions(test, "suffix") && holds(test, |char| !char.is_ascii())
}

/// Whether it looks for texts, which all begin with the same quote.
fn is_text(test: &Json) -> bool {
    let is_other = |name| mentions(test, name);
    !is_literal(test) && !["numeric", "cidr", "exists"].into_iter().any(is_other)
}

/// Whether it is a number or a word.
fn is_literal(test: &Json) -> bool {
    matches!(test, Json::Null | Json::Bool(_) | Json::Number(_))
}

fn is_exact(test: &Json) -> bool {
    !matches!(test, Json::Object(_)) || mentions(test, "exactly")
}

/// Whether it makes AWS's library rearrange exact values that it has already, which it does wrongly.
fn moves_others(test: &Json) -> bool {
    mentions(test, "numeric")
        || mentions(test, "suffix") && ignores_case(test)
        || !addresses(test).is_empty()
}

fn affix_holds(test: &Json, wanted: char) -> bool {
    (mentions(test, "prefix") || mentions(test, "suffix")) && holds(test, |char| char == wanted)
}

/// Whether a text in it holds such a character.
fn holds(json: &Json, wanted: impl Fn(char) -> bool + Copy) -> bool {
    match json {
        Json::Text(text) => text.chars().any(wanted),
        Json::Array(elements) => elements.iter().any(|element| holds(element, wanted)),
        Json::Object(members) => members.iter().any(|(_, value)| holds(value, wanted)),
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
    }
}

fn holds_text(json: &Json, wanted: &str) -> bool {
    match json {
        Json::Text(text) => text == wanted,
        Json::Array(elements) => elements.iter().any(|element| holds_text(element, wanted)),
        Json::Object(members) => {
            let mut members = members.iter();
            members.any(|(_, value)| holds_text(value, wanted))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
    }
}

fn holds_array(json: &Json) -> bool {
    match json {
        Json::Array(_) => true,
        Json::Object(members) => members.iter().any(|(_, value)| holds_array(value)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => false,
    }
}

/// Whether some path is spelled with a dot in a name, and with two names.
fn is_spelled_differently(event: &Json) -> bool {
    let mut spellings = BTreeMap::new();
    let mut is_new = |path: String, names: Vec<&str>| -> bool {
        let names = names.join("/");
        *spellings.entry(path).or_insert_with(|| names.clone()) == names
    };
    !all_paths(event, &[], &mut is_new)
}

fn all_paths<'a>(
    json: &'a Json,
    names: &[&'a str],
    is_new: &mut dyn FnMut(String, Vec<&'a str>) -> bool,
) -> bool {
    match json {
        Json::Object(members) => members.iter().all(|(name, value)| {
            let names = [names, &[name.as_str()]].concat();
            all_paths(value, &names, is_new)
        }),
        Json::Array(elements) => elements
            .iter()
            .all(|element| all_paths(element, names, is_new)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => {
            is_new(names.join("."), names.to_vec())
        }
    }
}

fn holds_number(json: &Json) -> bool {
    match json {
        Json::Number(_) => true,
        Json::Array(elements) => elements.iter().any(holds_number),
        Json::Object(members) => members.iter().any(|(_, value)| holds_number(value)),
        Json::Null | Json::Bool(_) | Json::Text(_) => false,
    }
}

/// Whether a number could begin like the addresses of a block.
fn is_wide_block(test: &Json) -> bool {
    let Json::Object(members) = test else {
        return false;
    };
    let bits = members.iter().find_map(|(name, value)| match value {
        Json::Text(text) if name == "cidr" => text.split('/').nth(1)?.parse().ok(),
        Json::Text(_)
        | Json::Null
        | Json::Bool(_)
        | Json::Number(_)
        | Json::Array(_)
        | Json::Object(_) => None,
    });
    bits.is_some_and(|bits: u32| bits < 8)
}

/// The addresses among the texts in it, and those of blocks.
fn addresses(json: &Json) -> Vec<IpAddr> {
    match json {
        Json::Text(text) => {
            let (address_part, _) = text.split_once('/').unwrap_or((text, ""));
            address(address_part).into_iter().collect()
        }
        Json::Array(elements) => elements.iter().flat_map(addresses).collect(),
        Json::Object(members) => {
            let values = members.iter().map(|(_, value)| value);
            values.flat_map(addresses).collect()
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => Vec::new(),
    }
}
