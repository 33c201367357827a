//! IP addresses, as AWS's library reads them, and blocks of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A longer text is not read as an IPv4 address, however many zeros it begins with.
const MAX_IPV4_LENGTH: usize = 15;

/// Reads an address.
///
/// Zeros before a number count for nothing: `10.0.0.01` is `10.0.0.1`. An IPv6 address that stands
/// for one of IPv4 is that one: `::ffff:a00:1` is `10.0.0.1`.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        let groups: Vec<&str> = text.split(':').map(|group| shorten(group, 4)).collect();
        let address: Ipv6Addr = groups.join(":").parse().ok()?;
        // With dots it would not even be looked at.
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

/// Removes zeros from the front, as long as more than so many digits are there.
fn shorten(digits: &str, keep: usize) -> &str {
    let mut short = digits;
    while keep < short.len() && short.starts_with('0') {
        short = &short[1..];
    }
    short
}

/// The addresses with the same first bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    address: IpAddr,
    n_bits: u32,
}

impl Block {
    /// Reads `10.0.0.0/24`. A block of a single address is refused, as by AWS's library.
    pub(super) fn of(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.trim_end_matches('/').split('/').collect();
        let [host, bits] = parts.as_slice() else {
            return Err(format!(
                "`{text}` is no block of addresses: one / is required"
            ));
        };
        let n_bits: u32 = bits
            .parse()
            .map_err(|_| format!("`{bits}` is no number of bits"))?;
        let address = address(host).ok_or_else(|| format!("`{host}` is no address"))?;
        let limit = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        if limit <= n_bits {
            return Err(format!("a block has less than {limit} bits"));
        }
        Ok(Self { address, n_bits })
    }

    pub(super) fn holds(&self, other: IpAddr) -> bool {
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
