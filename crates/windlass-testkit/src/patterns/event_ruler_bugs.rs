//! Known bugs of event-ruler, which the filter does not reproduce.
//!
//! event-ruler keeps all tests of one field in a single automaton over bytes, in which a string
//! includes its quotes and an address is hexadecimal digits. Some tests interfere with each other
//! there. Lambda is not known to have these bugs, and nobody relies on them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Case;
use crate::naive_filter::address::address;
use crate::naive_filter::json::{Json, parse_beginning};

/// The tests of each path, of one sub-rule.
type Fields<'a> = BTreeMap<String, Vec<&'a Json>>;

/// The bug of event-ruler 2.0.1 that a case may run into.
///
/// A rough check: event-ruler answers most of these cases correctly.
pub fn possible_bug(case: &Case) -> Option<&'static str> {
    let pattern = parse_beginning(&case.pattern).ok()?;
    let event = parse_beginning(&case.event).unwrap_or(Json::Null);
    if contains_array(&event) && has_two_spellings_of_a_path(&event) {
        // `{"b": [{"b": 0, "c": 1}], "b.c": 2}` does not match `{"b.b": [0], "b.c": [2]}`.
        return Some("a value outside an array is lost next to one inside");
    }
    if has_empty_name(&pattern) {
        // `{"a": 1}` matches `{"": {"a": [1]}}`, and `{"a": {"": 1}}` does not match itself.
        return Some("an empty name is lost at the start or end of a path");
    }
    let mut sub_rules = vec![Fields::new()];
    expand(&pattern, "", &mut sub_rules);
    if share_some_tests(&sub_rules) {
        // `"y"` does not match `{"$or": [{"a": ["x"]}, {"a": ["x", "y"]}]}`.
        return Some("a test is lost if another test of its field is in two branches");
    }
    // event-ruler adds the sub-rules to the automata one by one.
    let mut fields = Fields::new();
    for (path, tests) in sub_rules.into_iter().flatten() {
        fields.entry(path).or_default().extend(tests);
    }
    let bugs = fields.values().filter_map(|tests| bug(tests, &event));
    bugs.min()
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

fn bug(tests: &[&Json], event: &Json) -> Option<&'static str> {
    let any = |is: fn(&Json) -> bool| tests.iter().any(|test| is(test));
    let is_wildcard = |test: &Json| mentions(test, "wildcard");
    if in_order(tests, &[&is_wildcard, &is_loose_after_wildcards]) {
        // `"5"` matches `[{"wildcard": "*b"}, {"equals-ignore-case": "a"}]`, and `"ß"` matches
        // `[{"wildcard": "*b"}, {"suffix": "É"}]`.
        return Some("a character of several bytes or cases matches others after a wildcard");
    }
    let excludes_all = |test: &Json| mentions(test, "anything-but") && contains_text(test, "*");
    if in_order(tests, &[&is_exact, &excludes_all, &excludes_all]) {
        // `"b"` matches `{"a": ["x", {"anything-but": {"wildcard": ["*", "*c"]}}]}` next to an `$or`.
        return Some("a lone wildcard in two branches excludes nothing");
    }
    for is_alike in [is_text, is_literal] {
        let is_exact_too = |test: &Json| is_alike(test) && is_exact(test);
        if in_order(tests, &[&is_exact_too, &rearranges_others, &is_alike]) {
            // `"abc"` does not match `["abc", {"numeric": [">", 1]}, "abd"]`.
            return Some("an exact value is lost if a range or the like and a third test follow");
        }
    }
    if any(|test| matches!(test, Json::Number(_))) && any(|test| !addresses(test).is_empty()) {
        // `0.1` does not always match `[0.1, {"cidr": "::/7"}]`.
        return Some("a number and the digits of an address share a prefix");
    }
    if any(|test| affix_contains(test, '"')) {
        // `"a"` matches `[{"prefix": "a\""}]`.
        return Some("the quotes around a string count as part of it");
    }
    if any(|test| ignores_case(test) && contains_char(test, |char| '\u{ffff}' < char)) {
        // `"😀"` does not match `[{"equals-ignore-case": "😀"}]`.
        return Some("the halves of a surrogate pair are case-folded separately");
    }
    if any(is_wide_block) && contains_number(event) {
        // `9` matches `[{"cidr": "128.0.0.0/1"}]`.
        return Some("a number matches as the digits of an address");
    }
    let ours = tests.iter().flat_map(|test| addresses(test));
    let theirs = addresses(event);
    if ours.into_iter().any(|ours| {
        theirs
            .iter()
            .any(|theirs| ours.is_ipv4() != theirs.is_ipv4())
    }) {
        // `"a00::"` matches `[{"cidr": "10.0.0.0/8"}]`.
        return Some("an address matches as the prefix of a longer one");
    }
    None
}

/// Whether `tests` contains tests that satisfy the predicates, in this order, not necessarily adjacent.
fn in_order(tests: &[&Json], predicates: &[&dyn Fn(&Json) -> bool]) -> bool {
    let mut tests = tests.iter();
    predicates.iter().all(|is| tests.any(|test| is(test)))
}

/// Whether a test is, or contains, the operator `operator`.
fn mentions(test: &Json, operator: &str) -> bool {
    match test {
        Json::Object(members) => {
            let mut members = members.iter();
            members.any(|(name, value)| name == operator || mentions(value, operator))
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

/// Whether two sub-rules share some but not all tests of a field.
fn share_some_tests(sub_rules: &[Fields<'_>]) -> bool {
    sub_rules.iter().enumerate().any(|(index, ours)| {
        let pairs = sub_rules[..index].iter().flat_map(|theirs| {
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

/// Whether event-ruler may treat two tests as the same: it has several spellings of some.
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

fn is_loose_after_wildcards(test: &Json) -> bool {
    ignores_case(test) || mentions(test, "suffix") && contains_char(test, |char| !char.is_ascii())
}

/// Whether it tests strings, which all begin with the same quote.
fn is_text(test: &Json) -> bool {
    let is_other = |name| mentions(test, name);
    !is_literal(test) && !["numeric", "cidr", "exists"].into_iter().any(is_other)
}

/// Whether it is a number, boolean or null.
fn is_literal(test: &Json) -> bool {
    matches!(test, Json::Null | Json::Bool(_) | Json::Number(_))
}

fn is_exact(test: &Json) -> bool {
    !matches!(test, Json::Object(_)) || mentions(test, "exactly")
}

/// Whether it makes event-ruler rearrange the exact values it already has, which it does wrongly.
fn rearranges_others(test: &Json) -> bool {
    mentions(test, "numeric")
        || mentions(test, "suffix") && ignores_case(test)
        || !addresses(test).is_empty()
}

fn affix_contains(test: &Json, expected: char) -> bool {
    (mentions(test, "prefix") || mentions(test, "suffix"))
        && contains_char(test, |char| char == expected)
}

/// Whether a string in it contains such a character.
fn contains_char(json: &Json, predicate: impl Fn(char) -> bool + Copy) -> bool {
    match json {
        Json::Text(text) => text.chars().any(predicate),
        Json::Array(elements) => elements
            .iter()
            .any(|element| contains_char(element, predicate)),
        Json::Object(members) => members
            .iter()
            .any(|(_, value)| contains_char(value, predicate)),
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
    }
}

fn contains_text(json: &Json, expected: &str) -> bool {
    match json {
        Json::Text(text) => text == expected,
        Json::Array(elements) => elements
            .iter()
            .any(|element| contains_text(element, expected)),
        Json::Object(members) => {
            let mut members = members.iter();
            members.any(|(_, value)| contains_text(value, expected))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
    }
}

fn contains_array(json: &Json) -> bool {
    match json {
        Json::Array(_) => true,
        Json::Object(members) => members.iter().any(|(_, value)| contains_array(value)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => false,
    }
}

/// Whether a path occurs both with a dot in a name and as two names.
fn has_two_spellings_of_a_path(event: &Json) -> bool {
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

fn contains_number(json: &Json) -> bool {
    match json {
        Json::Number(_) => true,
        Json::Array(elements) => elements.iter().any(contains_number),
        Json::Object(members) => members.iter().any(|(_, value)| contains_number(value)),
        Json::Null | Json::Bool(_) | Json::Text(_) => false,
    }
}

/// Whether it is a block so wide that a number can share its prefix.
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

/// The strings in it that are addresses, and the addresses of blocks.
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
