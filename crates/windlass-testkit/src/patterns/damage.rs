//! Patterns and events with something wrong in them.

use super::render;
use super::values::{text, wrong_wildcard};
use crate::naive_filter::json::Json;
use crate::naive_filter::rules::RESERVED;
use crate::rng::Rng;

/// Whole arrays of tests that are refused, and some that only look so.
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

/// Members of an object that are refused, or refused inside `$or`.
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

/// Names that are like those that are refused inside `$or`, and are not refused.
const NOT_RESERVED: [&str; 4] = ["Prefix", "!=", "a.prefix", "$and"];

/// A pattern with one thing wrong in it.
pub(super) fn pattern(rng: &mut Rng, mut pattern: Json) -> String {
    // The place of the damage, as a text that occurs nowhere else and is then replaced.
    const HERE: &str = "here";
    let with = match rng.between(0, 9) {
        0..=3 => rng.pick(ARRAYS).to_owned(),
        4 => {
            let member = rng.pick(MEMBERS);
            format!("{{{member}}}")
        }
        5 => in_or(rng.pick(&[&RESERVED[..], &NOT_RESERVED].concat())),
        6 => {
            let wildcard = Json::Object(vec![("wildcard".to_owned(), text(wrong_wildcard(rng)))]);
            render::text(rng, &Json::Array(vec![wildcard]))
        }
        7 => return top(rng, &pattern),
        _ => return garbled(rng, &pattern),
    };
    let Json::Object(members) = &mut pattern else {
        return with;
    };
    let place = rng.size(0, members.len());
    members.insert(place, ("damage".to_owned(), text(HERE)));
    render::text(rng, &pattern).replacen(&format!("\"{HERE}\""), &with, 1)
}

/// A text that is no object, or more than one.
pub(super) fn event(rng: &mut Rng, event: &Json) -> String {
    let text = render::text(rng, event);
    let damaged = match rng.between(0, 5) {
        0 => rng
            .pick(&["", " ", "1", "null", "\"a\"", "[]", "tru"])
            .to_owned(),
        1 => text.trim_end().trim_end_matches('}').to_owned(),
        2 => text.replacen(':', "", 1),
        3 => text.replacen('{', "{,", 1),
        4 => text.replacen('"', "'", 1),
        _ => format!("[{text}]"),
    };
    if damaged == text {
        return format!("[{text}]");
    }
    damaged
}

fn in_or(name: &str) -> String {
    format!(r#"{{"$or":[{{"a":["x"]}},{{"b":{{"{name}":["y"]}}}}]}}"#)
}

/// Something around the object that should be all.
fn top(rng: &mut Rng, pattern: &Json) -> String {
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

/// A text in which one character is missing or too much.
fn garbled(rng: &mut Rng, pattern: &Json) -> String {
    let mut chars: Vec<char> = render::plain(rng, pattern).chars().collect();
    let place = rng.size(0, chars.len() - 1);
    match rng.between(0, 3) {
        0..=1 => {
            chars.remove(place);
        }
        2 => chars.truncate(place),
        _ => chars.insert(
            place,
            rng.pick(&['{', '}', '[', ']', ',', ':', '"', 'x', ' ']),
        ),
    }
    chars.into_iter().collect()
}
