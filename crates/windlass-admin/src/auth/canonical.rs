//! The canonical form of a request, which is what Signature Version 4 signs.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use http::HeaderMap;
use http::request::Parts;

/// The parameter of a presigned URL that its signature does not cover.
const SIGNATURE_PARAMETER: &str = "X-Amz-Signature";

/// `signed_headers`: their names as the caller lists them. `payload_hash` is hexadecimal.
pub(super) fn request(parts: &Parts, signed_headers: &str, payload_hash: &str) -> Vec<u8> {
    let mut text = format!(
        "{}\n{}\n{}\n",
        parts.method,
        path(parts.uri.path()),
        query(parts.uri.query().unwrap_or_default())
    )
    .into_bytes();
    for name in signed_headers.split(';') {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        text.extend(header(&parts.headers, name));
        text.push(b'\n');
    }
    text.push(b'\n');
    text.extend_from_slice(signed_headers.as_bytes());
    text.push(b'\n');
    text.extend_from_slice(payload_hash.as_bytes());
    text
}

/// The parameters of a query, decoded.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

/// Without empty and relative segments, encoded once more than it was sent: all services but S3 do.
fn path(sent: &str) -> String {
    let mut segments = Vec::new();
    for segment in sent.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(encode(segment.as_bytes())),
        }
    }
    let end = if sent.ends_with('/') && !segments.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{end}", segments.join("/"))
}

/// Ordered by name and value, both encoded.
fn query(sent: &str) -> String {
    let signed = parameters(sent).filter(|(name, _)| name != SIGNATURE_PARAMETER.as_bytes());
    let mut pairs: Vec<_> = signed
        .map(|(name, value)| (encode(&name), encode(&value)))
        .collect();
    pairs.sort_unstable();
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join("&")
}

/// The values of a header, with single spaces.
fn header(headers: &HeaderMap, name: &str) -> Vec<u8> {
    let values = headers.get_all(name).iter().map(|value| {
        let words = value
            .as_bytes()
            .split(|byte| *byte == b' ' || *byte == b'\t');
        let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        words.join(&b' ')
    });
    values.collect::<Vec<_>>().join(&b',')
}

/// Percent-encodes all but the characters that RFC 3986 does not reserve.
fn encode(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// What a handler reads: `+` is a space. A `%` without two digits stands for itself.
fn decode(text: &str) -> Vec<u8> {
    let (mut decoded, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        let hex = match after {
            [high, low, ..] if *first == b'%' => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match (hex, first) {
            (Some((high, low)), _) => {
                decoded.push(16 * high + low);
                rest = after.get(2..).unwrap_or_default();
            }
            (None, b'+') => decoded.push(b' '),
            (None, other) => decoded.push(*other),
        }
    }
    decoded
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn paths_are_normalized_and_encoded_once_more() {
        for (sent, canonical) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("//a//b", "/a/b"),
            ("/./a/../b", "/b"),
            ("/../..", "/"),
            ("/arn%3Aaws", "/arn%253Aaws"),
            ("/arn:aws", "/arn%3Aaws"),
            ("/example%20space/", "/example%2520space/"),
        ] {
            assert_eq!(path(sent), canonical, "{sent}");
        }
    }

    /// From AWS's test suite of Signature Version 4, and what clients send in addition.
    #[test]
    fn parameters_are_ordered_and_encoded() {
        for (sent, canonical) in [
            ("", ""),
            ("Param2=value2&Param1=value1", "Param1=value1&Param2=value2"),
            ("Param1=value2&Param1=Value1", "Param1=Value1&Param1=value2"),
            ("Param1=value2&Param1=value1", "Param1=value1&Param1=value2"),
            ("a", "a="),
            ("&a=b=c&", "a=b%3Dc"),
            ("a=%2f+%zz%", "a=%2F%20%25zz%25"),
            ("-._~=~", "-._~=~"),
            ("%E1%88%B4=bar", "%E1%88%B4=bar"),
            ("X-Amz-Signature=0&a=1", "a=1"),
        ] {
            assert_eq!(query(sent), canonical, "{sent}");
        }
    }

    #[test]
    fn values_of_headers_are_joined_and_have_single_spaces() {
        let request = Request::get("/")
            .header("my-header1", " value4 ")
            .header("my-header1", "value1")
            .header("my-header2", "\"a   b   c\"");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(header(&parts.headers, "my-header1"), b"value4,value1");
        assert_eq!(header(&parts.headers, "my-header2"), b"\"a b c\"");
        assert_eq!(header(&parts.headers, "absent"), b"");
    }
}
