//! Corrupts patterns and events.

use super::render;
use super::values::{invalid_wildcard, text};
use crate::naive_filter::json::Json;
use crate::naive_filter::rules::RESERVED;
use crate::rng::Rng;

/// Arrays of tests that are invalid, and a few that only look invalid.
const ARRAYS: &[&str] = &[
    "[]",
    "[[]]",
    r#"[["a"]]"#,
    "[{}]",
    r#"["a",]"#,
    r#"[{"prefix":"a","suffix":"b"}]"#,
    r#"[{"prefix":"a","prefix":"a"}]"#,
    r#"[{"prefix":1}]"#,
    r#"[{"prefix":["a"]}]"#,
    r#"[{"prefix":{}}]"#,
    r#"[{"prefix":{"prefix":"a"}}]"#,
    r#"[{"prefix":{"equals-ignore-case":1}}]"#,
    r#"[{"prefix":{"equals-ignore-case":["a"]}}]"#,
    r#"[{"suffix":{"equals-ignore-case":"a","suffix":"b"}}]"#,
    r#"[{"suffix":null}]"#,
    r#"[{"suffix":{"wildcard":"a"}}]"#,
    r#"[{"exactly":1}]"#,
    r#"[{"exactly":["a"]}]"#,
    r#"[{"Prefix":"a"}]"#,
    r#"[{"regex":"a"}]"#,
    r#"[{"":"a"}]"#,
    r#"[{"equals-ignore-case":["a"]}]"#,
    r#"[{"equals-ignore-case":1}]"#,
    r#"[{"wildcard":1}]"#,
    r#"[{"wildcard":["a"]}]"#,
    r#"[{"exists":"true"}]"#,
    r#"[{"exists":1}]"#,
    r#"[{"exists":null}]"#,
    r#"[{"exists":true,"exists":true}]"#,
    r#"[{"anything-but":[]}]"#,
    r#"[{"anything-but":{}}]"#,
    r#"[{"anything-but":null}]"#,
    r#"[{"anything-but":true}]"#,
    r#"[{"anything-but":["a",1]}]"#,
    r#"[{"anything-but":["a",null]}]"#,
    r#"[{"anything-but":[["a"]]}]"#,
    r#"[{"anything-but":[1,{"prefix":"a"}]}]"#,
    r#"[{"anything-but":12345678901234567}]"#,
    r#"[{"anything-but":[1,1e400]}]"#,
    r#"[{"anything-but":{"prefix":""}}]"#,
    r#"[{"anything-but":{"suffix":["a",""]}}]"#,
    r#"[{"anything-but":{"prefix":[]}}]"#,
    r#"[{"anything-but":{"wildcard":[]}}]"#,
    r#"[{"anything-but":{"equals-ignore-case":[]}}]"#,
    r#"[{"anything-but":{"equals-ignore-case":""}}]"#,
    r#"[{"anything-but":{"wildcard":"a**"}}]"#,
    r#"[{"anything-but":{"wildcard":["a","\\a"]}}]"#,
    r#"[{"anything-but":{"wildcard":""}}]"#,
    r#"[{"anything-but":{"prefix":1}}]"#,
    r#"[{"anything-but":{"prefix":["a",1]}}]"#,
    r#"[{"anything-but":{"prefix":{"equals-ignore-case":"a"}}}]"#,
    r#"[{"anything-but":{"prefix":"a","suffix":"b"}}]"#,
    r#"[{"anything-but":{"prefix":"a"},"exists":true}]"#,
    r#"[{"anything-but":{"numeric":["=",1]}}]"#,
    r#"[{"anything-but":{"cidr":"10.0.0.0/8"}}]"#,
    r#"[{"anything-but":{"exists":true}}]"#,
    r#"[{"anything-but":{"":"a"}}]"#,
    r#"[{"anything-but":{"anything-but":"a"}}]"#,
    r#"[{"numeric":[]}]"#,
    r#"[{"numeric":1}]"#,
    r#"[{"numeric":["="]}]"#,
    r#"[{"numeric":["=","1"]}]"#,
    r#"[{"numeric":["=",1,2]}]"#,
    r#"[{"numeric":["!=",1]}]"#,
    r#"[{"numeric":[1]}]"#,
    r#"[{"numeric":[">",1,"<"]}]"#,
    r#"[{"numeric":[">",1,"<",1]}]"#,
    r#"[{"numeric":[">=",1,"<=",1]}]"#,
    r#"[{"numeric":[">",2,"<",1]}]"#,
    r#"[{"numeric":["<",2,">",1]}]"#,
    r#"[{"numeric":[">",1,">",2]}]"#,
    r#"[{"numeric":[">",1,"=",2]}]"#,
    r#"[{"numeric":[">",-0.0,"<",0]}]"#,
    r#"[{"numeric":["=",12345678901234567]}]"#,
    r#"[{"numeric":["<",1e400]}]"#,
    r#"[{"numeric":[">",1,"<",3,"<",4]}]"#,
    r#"[{"numeric":["<",3,"<",4]}]"#,
    r#"[{"numeric":["=",null]}]"#,
    r#"[{"numeric":["=",1],"exists":true}]"#,
    r#"[{"cidr":"10.0.0.0"}]"#,
    r#"[{"cidr":"10.0.0.0/32"}]"#,
    r#"[{"cidr":"10.0.0.0/33"}]"#,
    r#"[{"cidr":"10.0.0.0/-1"}]"#,
    r#"[{"cidr":"10.0.0.0/"}]"#,
    r#"[{"cidr":"/8"}]"#,
    r#"[{"cidr":"10.0.0.0/8/8"}]"#,
    r#"[{"cidr":"10.0.0.0/8/"}]"#,
    r#"[{"cidr":"10.0.0.0/+8"}]"#,
    r#"[{"cidr":"10.0.0.0/ 8"}]"#,
    r#"[{"cidr":"10.0.0/8"}]"#,
    r#"[{"cidr":"10.0.0.256/8"}]"#,
    r#"[{"cidr":"a/8"}]"#,
    r#"[{"cidr":"::/128"}]"#,
    r#"[{"cidr":"::ffff:a00:1/32"}]"#,
    r#"[{"cidr":"::1::/8"}]"#,
    r#"[{"cidr":1}]"#,
    r#"[{"cidr":["10.0.0.0/8"]}]"#,
    "[01]",
    "[+1]",
    "[.1]",
    "[1.]",
    "[NaN]",
    "[True]",
    "['a']",
    r#"["a" "b"]"#,
    "[\"a\tb\"]",
    r#"["\x"]"#,
    r#"["\u12"]"#,
];

/// Members that are invalid, at least inside `$or`.
const MEMBERS: &[&str] = &[
    r#""a":"x""#,
    r#""a":1"#,
    r#""a":null"#,
    r#""a":{}"#,
    r#""a":{"b":{}}"#,
    r#""$or":[]"#,
    r#""$or":{}"#,
    r#""$or":null"#,
    r#""$or":["a","b"]"#,
    r#""$or":[{"a":["x"]}]"#,
    r#""$or":[{"a":["x"]},{}]"#,
    r#""$or":[{"a":["x"]},["y"]]"#,
    r#""$or":[{"a":["x"]},{"b":[]}]"#,
    r#""$or":[{"a":["x"]},{"b":{"$or":[{"c":["x"]}]}}]"#,
    r#""$OR":[{"a":["x"]},{"b":["x"]}]"#,
    r#""a":["x"],"#,
    r#"a:["x"]"#,
    r#""a" ["x"]"#,
    "",
];

/// Field names that resemble those reserved inside `$or` and are valid.
const NOT_RESERVED: [&str; 4] = ["Prefix", "!=", "a.prefix", "$and"];

/// Corrupts a pattern in one place.
pub(super) fn pattern(rng: &mut Rng, mut pattern: Json) -> String {
    // Marks the position: it occurs nowhere else, and is replaced after rendering.
    const MARKER: &str = "here";
    let replacement = match rng.between(0, 9) {
        0..=3 => rng.pick(ARRAYS).to_owned(),
        4 => {
            let member = rng.pick(MEMBERS);
            format!("{{{member}}}")
        }
        5 => in_or(rng.pick(&[&RESERVED[..], &NOT_RESERVED].concat())),
        6 => {
            let wildcard = Json::Object(vec![("wildcard".to_owned(), text(invalid_wildcard(rng)))]);
            render::text(rng, &Json::Array(vec![wildcard]))
        }
        7 => return around(rng, &pattern),
        _ => return with_typo(rng, &pattern),
    };
    let Json::Object(members) = &mut pattern else {
        return replacement;
    };
    let index = rng.size(0, members.len());
    members.insert(index, ("damage".to_owned(), text(MARKER)));
    render::text(rng, &pattern).replacen(&format!("\"{MARKER}\""), &replacement, 1)
}

/// Corrupts an event so that it is not a single JSON object.
pub(super) fn event(rng: &mut Rng, event: &Json) -> String {
    let text = render::text(rng, event);
    let corrupted = match rng.between(0, 5) {
        0 => rng
            .pick(&["", " ", "1", "null", "\"a\"", "[]", "tru"])
            .to_owned(),
        1 => text.trim_end().trim_end_matches('}').to_owned(),
        2 => text.replacen(':', "", 1),
        3 => text.replacen('{', "{,", 1),
        4 => text.replacen('"', "'", 1),
        _ => format!("[{text}]"),
    };
    if corrupted == text {
        return format!("[{text}]");
    }
    corrupted
}

fn in_or(name: &str) -> String {
    format!(r#"{{"$or":[{{"a":["x"]}},{{"b":{{"{name}":["y"]}}}}]}}"#)
}

/// Corrupts the text around the outermost object.
fn around(rng: &mut Rng, pattern: &Json) -> String {
    let text = render::text(rng, pattern);
    match rng.between(0, 4) {
        0 => format!("[{text}]"),
        1 => format!(
            "{text}{}",
            rng.pick(&["x", "}", "{}", ",", "\u{0}", "\"", "[1"])
        ),
        2 => format!("{}{text}", rng.pick(&["x", "}", "{}", ",", "1 "])),
        3 => rng
            .pick(&["", " ", "{}", "[]", "null", "1", "\"a\"", "{", "nul"])
            .to_owned(),
        _ => text.replacen("\"$or\"", "\"$Or\"", 1),
    }
}

/// Removes or adds a character, or truncates the text.
fn with_typo(rng: &mut Rng, pattern: &Json) -> String {
    let mut chars: Vec<char> = render::plain(rng, pattern).chars().collect();
    let index = rng.size(0, chars.len() - 1);
    match rng.between(0, 3) {
        0..=1 => {
            chars.remove(index);
        }
        2 => chars.truncate(index),
        _ => chars.insert(
            index,
            rng.pick(&['{', '}', '[', ']', ',', ':', '"', 'x', ' ']),
        ),
    }
    chars.into_iter().collect()
}
