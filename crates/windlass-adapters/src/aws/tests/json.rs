//! Generates JSON values, and the many ways to write each.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use windlass_testkit::rng::Rng;

/// A JSON value whose numbers are kept as they are written.
#[derive(Clone, Debug)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    /// A string without optional escapes.
    Plain(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Members of an object; `None` is left out.
pub(super) type Members = Vec<(&'static str, Option<Json>)>;

/// An object with known and other members.
pub(super) fn object(known: Members, others: Vec<(String, Json)>) -> Json {
    let known = known
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Json::Object(known.chain(others).collect())
}

/// Writes a value in one of many ways: members in any order, white space anywhere, and any
/// character escaped in any form that JSON allows.
pub(super) fn spell(value: &Json, seed: u64) -> String {
    let mut speller = Speller {
        rng: Rng::new(seed),
        text: String::new(),
        escapes: 0,
        spaces: 0,
    };
    // Most responses are plain.
    speller.escapes = speller.rng.pick(&[0, 0, 20, 500]);
    speller.spaces = speller.rng.pick(&[0, 0, 50, 500]);
    speller.value(value);
    speller.space();
    speller.text
}

/// Responses as they are sent.
pub(super) fn spelled(response: impl Strategy<Value = Json>) -> impl Strategy<Value = String> {
    (response, any::<u64>()).prop_map(|(response, seed)| spell(&response, seed))
}

struct Speller {
    rng: Rng,
    text: String,
    /// Optional escapes per thousand characters.
    escapes: u64,
    /// White space per thousand positions.
    spaces: u64,
}

impl Speller {
    fn value(&mut self, value: &Json) {
        self.space();
        match value {
            Json::Null => self.text.push_str("null"),
            Json::Bool(value) => self.text.push_str(if *value { "true" } else { "false" }),
            Json::Number(number) => self.text.push_str(number),
            Json::String(text) => self.string(text),
            Json::Plain(text) => self.text.extend(["\"", text, "\""]),
            Json::Array(values) => {
                self.text.push('[');
                for (index, value) in values.iter().enumerate() {
                    self.comma(index);
                    self.value(value);
                }
                self.space();
                self.text.push(']');
            }
            Json::Object(members) => {
                let mut order: Vec<_> = members.iter().collect();
                for last in (1..order.len()).rev() {
                    order.swap(last, self.rng.size(0, last));
                }
                self.text.push('{');
                for (index, (name, value)) in order.into_iter().enumerate() {
                    self.comma(index);
                    self.space();
                    self.string(name);
                    self.space();
                    self.text.push(':');
                    self.value(value);
                }
                self.space();
                self.text.push('}');
            }
        }
    }

    fn string(&mut self, text: &str) {
        self.text.push('"');
        for character in text.chars() {
            let must = character < ' ' || character == '"' || character == '\\';
            if must || self.rng.per_mille(self.escapes) {
                self.escape(character);
            } else {
                self.text.push(character);
            }
        }
        self.text.push('"');
    }

    fn escape(&mut self, character: char) {
        let short = match character {
            '"' | '\\' | '/' => Some(character),
            '\n' => Some('n'),
            '\r' => Some('r'),
            '\t' => Some('t'),
            '\u{8}' => Some('b'),
            '\u{c}' => Some('f'),
            _ => None,
        };
        if let Some(short) = short.filter(|_| self.rng.per_mille(500)) {
            self.text.extend(['\\', short]);
            return;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            let digits = if self.rng.per_mille(500) {
                format!("\\u{unit:04x}")
            } else {
                format!("\\u{unit:04X}")
            };
            self.text.push_str(&digits);
        }
    }

    fn comma(&mut self, index: usize) {
        if index != 0 {
            self.space();
            self.text.push(',');
        }
    }

    fn space(&mut self) {
        while self.rng.per_mille(self.spaces) {
            let space = self.rng.pick(&[' ', '\n', '\r', '\t']);
            self.text.push(space);
        }
    }
}

/// Text with all kinds of characters that are special in JSON.
pub(super) fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        6 => (b' '..=b'~').prop_map(char::from),
        1 => prop_oneof![Just('"'), Just('\\'), Just('/'), Just('{'), Just(',')],
        1 => (0..b' ').prop_map(char::from),
        1 => prop_oneof![Just('\u{7f}'), Just('\u{2028}'), Just('\u{feff}'), Just('\u{ffff}')],
        2 => any::<char>(),
    ];
    vec(character, 0..12).prop_map(|characters| characters.into_iter().collect())
}

/// A decimal number with up to 56 digits.
pub(super) fn digits() -> impl Strategy<Value = String> {
    "[1-9][0-9]{0,55}"
}

/// Bytes in base64.
pub(super) fn base64() -> impl Strategy<Value = String> {
    vec(any::<u8>(), 0..40).prop_map(|bytes| base64_simd::STANDARD.encode_to_string(bytes))
}

/// Bytes in base64 without escapes, which most of the SDK's parsers reject there.
pub(super) fn binary() -> impl Strategy<Value = Json> {
    base64().prop_map(Json::Plain)
}

/// A value, `null`, or no member.
pub(super) fn maybe(value: impl Strategy<Value = Json>) -> impl Strategy<Value = Option<Json>> {
    prop_oneof![
        3 => value.prop_map(Some),
        1 => Just(Some(Json::Null)),
        1 => Just(None),
    ]
}

/// A string, `null`, or no member.
pub(super) fn maybe_text() -> impl Strategy<Value = Option<Json>> {
    maybe(text().prop_map(Json::String))
}

/// A time of the years 1970 to 2100, in seconds, in any form of a number.
pub(super) fn timestamp() -> impl Strategy<Value = Json> {
    // Not half a millisecond: its rounding depends on the last bit of the number.
    let micros = prop_oneof![3 => Just(0_u64), 1 => 1..498_u64, 1 => 502..999_u64];
    (0..4_102_444_800_000_u64, micros, 0..6_u8).prop_map(|(millis, micros, form)| {
        let micros = millis * 1000 + micros;
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
        Json::Number(match form {
            0 => format!("{seconds}"),
            1 => format!("{micros}e-6"),
            2 => format!("{seconds}.{fraction:06}E+0"),
            3 => format!("{:.15e}", micros as f64 / 1e6),
            _ => format!("{seconds}.{fraction:06}"),
        })
    })
}

/// Any JSON number.
fn number() -> impl Strategy<Value = Json> {
    let number = "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?";
    number.prop_map(Json::Number)
}

/// Any JSON value.
pub(super) fn anything() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        number(),
        text().prop_map(Json::String),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Json::Array),
            vec((text(), inner), 0..4).prop_map(Json::Object),
        ]
    })
}

/// Members that no service has.
pub(super) fn others() -> impl Strategy<Value = Vec<(String, Json)>> {
    let other = (text(), anything()).prop_map(|(name, value)| (format!("x{name}"), value));
    option::weighted(0.2, vec(other, 1..3)).prop_map(Option::unwrap_or_default)
}
