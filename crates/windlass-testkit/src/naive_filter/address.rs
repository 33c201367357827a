//! IP addresses, parsed like event-ruler, and CIDR blocks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longer strings are not IPv4 addresses, even if leading zeros make them so long.
const MAX_IPV4_LENGTH: usize = 15;

/// Parses an address.
///
/// Leading zeros are ignored: `10.0.0.01` is `10.0.0.1`. An IPv4-mapped IPv6 address is that IPv4
/// address: `::ffff:a00:1` is `10.0.0.1`.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        let groups: Vec<&str> = text.split(':').map(|group| shorten(group, 4)).collect();
        let address: Ipv6Addr = groups.join(":").parse().ok()?;
        // event-ruler does not accept dots in IPv6 addresses.
        let plain = text
            .chars()
            .all(|char| char == ':' || char.is_ascii_hexdigit());
        return plain.then(|| address.to_canonical());
    }
    if MAX_IPV4_LENGTH < text.len() {
        return None;
    }
    let parts: Vec<&str> = text.split('.').map(|part| shorten(part, 1)).collect();
    let address: Ipv4Addr = parts.join(".").parse().ok()?;
    Some(address.into())
}

/// Removes leading zeros while there are more than `keep` digits.
fn shorten(digits: &str, keep: usize) -> &str {
    let mut short = digits;
    while keep < short.len() && short.starts_with('0') {
        short = &short[1..];
    }
    short
}

/// The addresses with a common prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    address: IpAddr,
    n_bits: u32,
}

impl Block {
    /// Parses `10.0.0.0/24`. Like event-ruler, rejects a block of a single address.
    pub(super) fn of(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.trim_end_matches('/').split('/').collect();
        let [host, bits] = parts.as_slice() else {
            return Err(format!(
                "`{text}` is not a CIDR block: exactly one / is required"
            ));
        };
        let n_bits: u32 = bits
            .parse()
            .map_err(|_| format!("`{bits}` is not a number of bits"))?;
        let address = address(host).ok_or_else(|| format!("`{host}` is not an IP address"))?;
        let limit = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        if limit <= n_bits {
            return Err(format!("the prefix must be shorter than {limit} bits"));
        }
        Ok(Self { address, n_bits })
    }

    pub(super) fn contains(&self, other: IpAddr) -> bool {
        let n_bits = usize::try_from(self.n_bits).expect("they are at most 128");
        match (self.address, other) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let (ours, theirs) = (bits(&ours.octets()), bits(&theirs.octets()));
                ours[..n_bits] == theirs[..n_bits]
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let (ours, theirs) = (bits(&ours.octets()), bits(&theirs.octets()));
                ours[..n_bits] == theirs[..n_bits]
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

fn bits(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:08b}")).collect()
}
