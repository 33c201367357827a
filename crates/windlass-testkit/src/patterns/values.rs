//! Generates values and tests of values, from small alphabets, so that they often match.
//!
//! Two comparable numbers are left out because event-ruler does not compare them: it relies on Java's
//! decimal of a double, which is not the shortest one for `1e23` (before JDK 19) and for `5e-324`.

use crate::naive_filter::json::Json;
use crate::rng::Rng;

/// Names of members. Some contain a dot, and the last two sort differently in UTF-8 than in UTF-16.
const NAMES: &[&str] = &[
    "a", "b", "c", "a.b", "b.c", "é", "A", "a-b", "\u{ff5e}", "😀",
];

/// Names for cases with few values.
const FEW_NAMES: &[&str] = &["a", "b", "\u{ff5e}", "😀"];

const TEXTS: &[&str] = &[
    "", "a", "b", "ab", "ba", "abc", "aab", "abab", "A", "AB", "Ab", "a.b", "a*b", "a\\b", "*",
    "é", "É", "ßa", "SSA", "ssa", "日本", "😀", "a😀", "a\"", "\"", "\"a\"b", "true", "null", "1",
    "10", "1e1", " a", "a\nb",
];

const FOLDED: &[&str] = &[
    "", "a", "A", "aB", "AB", "abC", "b", "é", "Éa", "ß", "ßa", "SS", "ss", "Σ", "ς", "σ", "İ",
    "ı", "ⱥ", "ŉ", "😀a", "日本", "1",
];

const WILDCARDS: &[&str] = &[
    "*", "", "a", "a*", "*a", "*b", "a*b", "*a*", "*ab*", "*a*b*", "a*a*b", "ab*ab", "*é", "日*",
    "*😀", "a\\*b", "\\*", "*\\**", "a\\\\b", "*\\\\*", "**", "a**b", "\\a", "a\\",
];

/// The wildcards after these are invalid.
const N_VALID_WILDCARDS: usize = 20;

const NUMBERS: &[&str] = &[
    "0",
    "-0",
    "0.0",
    "0e5",
    "1",
    "1.0",
    "1e0",
    "10",
    "1E1",
    "1e+1",
    "100e-1",
    "-1",
    "-1.50",
    "-15e-1",
    "0.1",
    "1e-1",
    "300",
    "300.0",
    "3.0e2",
    "0.30000000000000004",
    "9007199254740993",
    "9007199254740992",
    "12345678901234567",
    "123456789012345678901234567890",
    "1e400",
    "-1e400",
    "1e-400",
    "1.7976931348623157e308",
    "0.1000000000000000055511151231257827",
];

/// Comparable numbers, in ascending order.
const COMPARABLE: &[&str] = &[
    "-1e300",
    "-300.0",
    "-1.50",
    "-1",
    "-0.1",
    "0",
    "1e-1",
    "0.30000000000000004",
    "1.0",
    "1.5",
    "10",
    "3.0e2",
    "4503599627370497",
];

const FAMILIES: [Family; 2] = [
    Family {
        addresses: &[
            "10.0.0.1",
            "10.0.0.01",
            "010.0.0.1",
            "10.0.0.255",
            "10.0.1.0",
            "9.255.255.255",
            "0.0.0.0",
            "255.255.255.255",
            "::ffff:a00:1",
            "::FFFF:0a00:0001",
            "10.0.0",
            "10.0.0.1.",
            "10.0.0.1/32",
            " 10.0.0.1",
            "10.0.0.a",
            "1:2",
            ":",
            "a.b.c.d",
        ],
        blocks: &[
            "10.0.0.0/24",
            "10.0.0.77/24",
            "10.0.0.0/31",
            "10.0.0.1/8",
            "10.0.0.0/23",
            "0.0.0.0/0",
            "128.0.0.0/1",
            "010.0.0.0/024",
            "::ffff:a00:0/24",
        ],
    },
    Family {
        addresses: &[
            "::1",
            "0:0:0:0:0:0:0:1",
            "0::0001",
            "2001:db8::1",
            "2001:DB8:0:0::1",
            "2001:db8::ffff",
            "2001:db9::",
            "::",
            "fe80::1:2",
            "1:2:3:4:5:6:7::",
            "1:2:3:4:5:6:7:0",
            "::00001",
            "1::2::3",
            "1:2:3:4:5:6:7:8:9",
            ":1",
            "12345::",
            "::g",
            "::1%1",
        ],
        blocks: &[
            "2001:db8::/32",
            "2001:db8::ffff/112",
            "::/127",
            "2001:db8::/31",
            "fe80::/10",
            "::/0",
            "8000::/1",
        ],
    },
];

struct Family {
    addresses: &'static [&'static str],
    blocks: &'static [&'static str],
}

/// The alphabet of one case.
pub(super) struct Values {
    families: &'static [Family],
    /// Only a handful of names and values, so that all combinations occur.
    few: bool,
}

impl Values {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let families = match rng.between(0, 9) {
            0..=4 => &FAMILIES[..1],
            5..=8 => &FAMILIES[1..],
            _ => &FAMILIES[..],
        };
        Self {
            families,
            few: rng.per_mille(250),
        }
    }

    pub(super) fn are_few(&self) -> bool {
        self.few
    }

    pub(super) fn name(&self, rng: &mut Rng) -> &'static str {
        rng.pick(if self.few { FEW_NAMES } else { NAMES })
    }

    fn address(&self, rng: &mut Rng) -> Json {
        let family = &self.families[rng.size(0, self.families.len() - 1)];
        text(rng.pick(family.addresses))
    }

    fn block(&self, rng: &mut Rng) -> Json {
        let family = &self.families[rng.size(0, self.families.len() - 1)];
        text(rng.pick(family.blocks))
    }

    /// A value independent of any test.
    pub(super) fn any(&self, rng: &mut Rng) -> Json {
        if self.few {
            return [text("a"), text("b"), number("1")][rng.size(0, 2)].clone();
        }
        match rng.between(0, 9) {
            0 => Json::Null,
            1 => Json::Bool(rng.per_mille(500)),
            2..=4 => number(rng.pick(NUMBERS)),
            5 => self.address(rng),
            6 => text(rng.pick(FOLDED)),
            _ => text(rng.pick(TEXTS)),
        }
    }

    pub(super) fn test(&self, rng: &mut Rng) -> Json {
        if self.few {
            return match rng.between(0, 5) {
                0..=2 => self.any(rng),
                3..=4 => object("exists", Json::Bool(false)),
                _ => object("anything-but", text("a")),
            };
        }
        match rng.between(0, 19) {
            0..=2 => text(rng.pick(TEXTS)),
            3..=4 => number(rng.pick(NUMBERS)),
            5 => self.word_or_absent(rng),
            6 => self.address(rng),
            7 => object("exactly", text(rng.pick(&["a", "10.0.0.1", "::1", ""]))),
            8 => object("prefix", text(rng.pick(TEXTS))),
            9 => object("suffix", text(rng.pick(TEXTS))),
            10 => {
                let ignoring = object("equals-ignore-case", text(rng.pick(FOLDED)));
                object(rng.pick(&["prefix", "suffix"]), ignoring)
            }
            11 => object("equals-ignore-case", text(rng.pick(FOLDED))),
            12..=13 => object("wildcard", text(wildcard(rng))),
            14..=15 => object("anything-but", anything_but(rng)),
            16..=17 => object("numeric", numeric(rng)),
            18 => object("cidr", self.block(rng)),
            _ => object("exists", Json::Bool(rng.per_mille(500))),
        }
    }

    fn word_or_absent(&self, rng: &mut Rng) -> Json {
        match rng.between(0, 3) {
            0 => Json::Null,
            1 => Json::Bool(rng.per_mille(500)),
            _ => object("exists", Json::Bool(false)),
        }
    }

    /// A value that often satisfies a test; `None` for a test that requires absence.
    pub(super) fn accepted(&self, rng: &mut Rng, test: &Json) -> Option<Json> {
        let (name, argument) = match test {
            Json::Object(members) => members.first()?,
            Json::Text(_) if rng.per_mille(300) => {
                return Some(self.address(rng));
            }
            Json::Number(_) if rng.per_mille(300) => return Some(number(rng.pick(NUMBERS))),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Array(_) => {
                return Some(test.clone());
            }
        };
        let argument_text = innermost_text(argument);
        Some(match name.as_str() {
            "exists" if *argument == Json::Bool(false) => return None,
            "exactly" => text(&argument_text),
            "prefix" => text(&format!(
                "{}{}",
                in_any_case(rng, argument, &argument_text),
                tail(rng)
            )),
            "suffix" => text(&format!(
                "{}{}",
                tail(rng),
                in_any_case(rng, argument, &argument_text)
            )),
            "equals-ignore-case" => text(&flip(rng, &argument_text)),
            "wildcard" => text(&filled(rng, &argument_text)),
            "numeric" => number(rng.pick(COMPARABLE)),
            "cidr" => self.address(rng),
            _ => self.any(rng),
        })
    }
}

pub(super) fn text(text: &str) -> Json {
    Json::Text(text.to_owned())
}

fn number(literal: &str) -> Json {
    Json::Number(literal.to_owned())
}

fn object(name: &str, value: Json) -> Json {
    Json::Object(vec![(name.to_owned(), value)])
}

fn wildcard(rng: &mut Rng) -> &'static str {
    rng.pick(&WILDCARDS[..N_VALID_WILDCARDS])
}

pub(super) fn invalid_wildcard(rng: &mut Rng) -> &'static str {
    rng.pick(&WILDCARDS[N_VALID_WILDCARDS..])
}

fn tail(rng: &mut Rng) -> &'static str {
    if rng.per_mille(500) {
        ""
    } else {
        rng.pick(TEXTS)
    }
}

fn several(rng: &mut Rng, mut one: impl FnMut(&mut Rng) -> Json) -> Json {
    if rng.per_mille(400) {
        return one(rng);
    }
    let n_values = rng.size(1, 3);
    Json::Array((0..n_values).map(|_| one(rng)).collect())
}

fn anything_but(rng: &mut Rng) -> Json {
    match rng.between(0, 6) {
        0..=1 => several(rng, |rng| text(rng.pick(TEXTS))),
        2 => several(rng, |rng| number(rng.pick(COMPARABLE))),
        3 => object("prefix", several(rng, |rng| text(rng.pick(&TEXTS[1..])))),
        4 => object("suffix", several(rng, |rng| text(rng.pick(&TEXTS[1..])))),
        5 => object(
            "equals-ignore-case",
            several(rng, |rng| text(rng.pick(FOLDED))),
        ),
        _ => object("wildcard", several(rng, |rng| text(wildcard(rng)))),
    }
}

fn numeric(rng: &mut Rng) -> Json {
    let low = rng.size(0, COMPARABLE.len() - 2);
    let terms = if rng.per_mille(500) {
        let operator = rng.pick(&["=", "<", "<=", ">", ">="]);
        vec![text(operator), number(COMPARABLE[low])]
    } else {
        let high = rng.size(low + 1, COMPARABLE.len() - 1);
        vec![
            text(rng.pick(&[">", ">="])),
            number(COMPARABLE[low]),
            text(rng.pick(&["<", "<="])),
            number(COMPARABLE[high]),
        ]
    };
    Json::Array(terms)
}

/// The string in the argument of an operator, however deeply it is nested.
fn innermost_text(argument: &Json) -> String {
    match argument {
        Json::Text(text) => text.clone(),
        Json::Object(members) => members
            .first()
            .map_or_else(String::new, |(_, value)| innermost_text(value)),
        Json::Array(values) => values.first().map_or_else(String::new, innermost_text),
        Json::Null | Json::Bool(_) | Json::Number(_) => String::new(),
    }
}

fn in_any_case(rng: &mut Rng, argument: &Json, text: &str) -> String {
    match argument {
        Json::Object(_) => flip(rng, text),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Array(_) => {
            text.to_owned()
        }
    }
}

fn flip(rng: &mut Rng, text: &str) -> String {
    let flipped = text.chars().map(|char| match rng.between(0, 2) {
        0 => char.to_lowercase().collect(),
        1 => char.to_uppercase().collect(),
        _ => char.to_string(),
    });
    flipped.collect::<String>()
}

fn filled(rng: &mut Rng, wildcard: &str) -> String {
    let mut filled = String::new();
    let mut chars = wildcard.chars();
    while let Some(char) = chars.next() {
        match char {
            '*' => filled.push_str(tail(rng)),
            '\\' => filled.extend(chars.next()),
            other => filled.push(other),
        }
    }
    filled
}
