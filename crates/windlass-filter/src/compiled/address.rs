//! IP addresses: a string that is one equals all its other spellings, and `cidr` is a range of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses with a common prefix of `n_bits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CidrBlock {
    base: IpAddr,
    n_bits: u32,
}

impl CidrBlock {
    /// Parses `10.0.0.0/24`; the address bits after the mask are ignored.
    ///
    /// # Errors
    /// The reason. AWS rejects a mask of all bits: a plain address has the same meaning.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        // AWS ignores trailing slashes.
        let (base, n_bits) = text
            .trim_end_matches('/')
            .split_once('/')
            .ok_or("expected an address and a mask separated by a slash")?;
        let base = parse(base.as_bytes()).ok_or("expected an IP address before the slash")?;
        let n_bits: u32 = n_bits
            .parse()
            .map_err(|_| "expected a number of bits after the slash")?;
        let max_bits = if base.is_ipv4() { 31 } else { 127 };
        if max_bits < n_bits {
            return Err(
                "the mask must be shorter than the address: up to 31 bits for IPv4, 127 for IPv6",
            );
        }
        Ok(Self { base, n_bits })
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let differs = match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                u128::from(base.to_bits() ^ address.to_bits()) << 96
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => base.to_bits() ^ address.to_bits(),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        self.n_bits <= differs.leading_zeros()
    }
}

/// Longer strings are not IPv4 addresses, even if leading zeros make them so long.
const MAX_IPV4_LENGTH: usize = 15;

/// Parses an address as AWS's matcher does: four decimal numbers, or IPv6 without dots. Numbers may
/// have leading zeros. An IPv4-mapped IPv6 address is that IPv4 address.
pub(crate) fn parse(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if text.contains(':') {
        return Some(parse_ipv6(text)?.to_canonical());
    }
    if MAX_IPV4_LENGTH < text.len() {
        return None;
    }
    let mut parts = text.split('.').map(|part| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let number = part.trim_start_matches('0');
        let number = if number.is_empty() { "0" } else { number };
        digits.then_some(number)?.parse::<u8>().ok()
    });
    let mut next = || parts.next()?;
    let address = Ipv4Addr::new(next()?, next()?, next()?, next()?);
    parts.next().is_none().then_some(IpAddr::V4(address))
}

fn parse_ipv6(text: &str) -> Option<Ipv6Addr> {
    let plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b':';
    if !text.bytes().all(plain) {
        return None;
    }
    let parsed = text.parse();
    if parsed.is_ok() {
        return parsed.ok();
    }
    // A group has up to four digits, which leading zeros may precede.
    let groups = text.split(':').map(|group| {
        let surplus = group.len().saturating_sub(4);
        let (zeros, digits) = group.split_at(surplus);
        zeros.bytes().all(|byte| byte == b'0').then_some(digits)
    });
    let groups: Option<Vec<&str>> = groups.collect();
    groups?.join(":").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_many_spellings() {
        let same = |one: &str, other: &str| {
            let [one, other] = [one, other].map(|text| parse(text.as_bytes()));
            one.is_some() && one == other
        };
        assert!(same("10.0.0.1", "10.0.00.01"));
        assert!(same("::1", "0:0:0:0:0:0:0:1"));
        assert!(same("::1", "::000001"));
        assert!(same("2001:DB8::a", "2001:db8:0::A"));
        assert!(same("::ffff:102:304", "1.2.3.4"));
        for text in [
            "10.0.0",
            "10.0.0.256",
            "10.0.0.0.1",
            "a.b.c.d",
            "::g",
            "",
            "1...2",
            ":",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_block_contains_the_addresses_with_its_prefix() {
        let contains = |block: &str, address: &str| {
            let address = parse(address.as_bytes()).unwrap();
            CidrBlock::parse(block).unwrap().contains(address)
        };
        assert!(contains("10.0.0.0/24", "10.0.0.255"));
        assert!(!contains("10.0.0.0/24", "10.0.1.0"));
        assert!(contains("10.0.0.77/24", "10.0.0.1"));
        assert!(contains("0.0.0.0/0", "255.255.255.255"));
        assert!(!contains("0.0.0.0/0", "::1"));
        assert!(contains("2001:db8::/32", "2001:db8:ffff::"));
        for block in [
            "10.0.0.0",
            "10.0.0.0/32",
            "::/128",
            "x/8",
            "10.0.0.0/-1",
            "10.0.0.0/a",
        ] {
            assert!(CidrBlock::parse(block).is_err(), "{block}");
        }
    }
}
