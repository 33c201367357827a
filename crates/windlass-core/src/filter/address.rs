//! IP addresses: texts that look like one are compared as addresses, and `cidr` is a range of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses that share their first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    base: IpAddr,
    n_bits: u32,
}

impl Block {
    /// Reads `10.0.0.0/24`; bits behind the mask are of no account.
    ///
    /// # Errors
    /// Why it is none. A mask of all bits is refused, as AWS does: an address alone says the same.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (base, n_bits) = text
            .split_once('/')
            .ok_or("an address and a mask with a slash between were expected")?;
        let base = parse(base.as_bytes()).ok_or("an IP address was expected before the slash")?;
        let n_bits: u32 = n_bits
            .parse()
            .map_err(|_| "a number of bits was expected behind the slash")?;
        let most = if base.is_ipv4() { 31 } else { 127 };
        if most < n_bits {
            return Err("the mask must be shorter than the address: at most 31 bits, or 127");
        }
        Ok(Self { base, n_bits })
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
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

/// Reads an address: four decimal numbers, which may have zeros in front, or IPv6 without dots. An
/// IPv4 address in the form of an IPv6 address is an IPv4 address.
pub(super) fn parse(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if text.contains(':') {
        let plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b':';
        let address: Ipv6Addr = text.bytes().all(plain).then(|| text.parse().ok())??;
        return Some(match address.to_ipv4_mapped() {
            Some(address) => IpAddr::V4(address),
            None => IpAddr::V6(address),
        });
    }
    let mut parts = text.split('.').map(|part| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let part = part.trim_start_matches('0');
        digits
            .then_some(if part.is_empty() { "0" } else { part })?
            .parse::<u8>()
            .ok()
    });
    let mut next = || parts.next()?;
    let address = Ipv4Addr::new(next()?, next()?, next()?, next()?);
    parts.next().is_none().then_some(IpAddr::V4(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_many_forms() {
        let same = |one: &str, other: &str| {
            let [one, other] = [one, other].map(|text| parse(text.as_bytes()));
            one.is_some() && one == other
        };
        assert!(same("10.0.0.1", "10.0.00.01"));
        assert!(same("::1", "0:0:0:0:0:0:0:1"));
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
    fn a_block_has_the_addresses_with_its_first_bits() {
        let has = |block: &str, address: &str| {
            let address = parse(address.as_bytes()).unwrap();
            Block::parse(block).unwrap().contains(address)
        };
        assert!(has("10.0.0.0/24", "10.0.0.255"));
        assert!(!has("10.0.0.0/24", "10.0.1.0"));
        assert!(has("10.0.0.77/24", "10.0.0.1"));
        assert!(has("0.0.0.0/0", "255.255.255.255"));
        assert!(!has("0.0.0.0/0", "::1"));
        assert!(has("2001:db8::/32", "2001:db8:ffff::"));
        for block in [
            "10.0.0.0",
            "10.0.0.0/32",
            "::/128",
            "x/8",
            "10.0.0.0/-1",
            "10.0.0.0/a",
        ] {
            assert!(Block::parse(block).is_err(), "{block}");
        }
    }
}
