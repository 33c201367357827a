//! Who is at the other end of a connection on loopback.
//!
//! Any program of the machine can connect to the Runtime API of a process: only the process and its
//! descendants are answered. A secret in the address would not
//! help, since runtimes use only its host and port.

use std::net::{IpAddr, SocketAddr};

use super::process_tree::descendants;

/// Whether the other end of a connection belongs to a descendant of a process. Takes a few
/// milliseconds on a machine with many processes.
pub(super) fn is_descendant(
    root: u32,
    main: Option<u32>,
    peer: SocketAddr,
    own: SocketAddr,
) -> bool {
    let Some(inode) = inode_of(peer, own) else {
        return false;
    };
    let link = format!("socket:[{inode}]");
    // Most connections are those of the process itself.
    main.is_some_and(|pid| has_file(pid, &link))
        || descendants(root)
            .into_iter()
            .any(|pid| has_file(pid, &link))
}

/// The inode of a socket, given its own end and the other.
fn inode_of(local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    // Sockets of both families are found under `tcp6`.
    ["tcp", "tcp6"].into_iter().find_map(|name| {
        let table = std::fs::read_to_string(format!("/proc/self/net/{name}")).ok()?;
        find_inode(&table, local, remote)
    })
}

fn find_inode(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    let names = |address: SocketAddr| {
        let [plain, mapped] = address_names(address.ip());
        let port = address.port();
        [
            format!("{plain}:{port:04X}"),
            format!("{mapped}:{port:04X}"),
        ]
    };
    let (local, remote) = (names(local), names(remote));
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let (here, there) = (columns.nth(1)?, columns.next()?);
        let matches = local.iter().zip(&remote);
        if !matches.into_iter().any(|(l, r)| l == here && r == there) {
            return None;
        }
        // state, queues, timer, retransmits, uid, timeout, inode
        columns.nth(6)?.parse().ok().filter(|inode| *inode != 0)
    })
}

/// An address as `/proc` writes it, plain and as one of IPv6: words in the order of the machine.
fn address_names(ip: IpAddr) -> [String; 2] {
    let words = |octets: &[u8]| -> String {
        let words = octets.chunks_exact(4).map(|word| {
            let word = [word[0], word[1], word[2], word[3]];
            format!("{:08X}", u32::from_ne_bytes(word))
        });
        words.collect()
    };
    match ip {
        IpAddr::V4(ip) => [words(&ip.octets()), words(&ip.to_ipv6_mapped().octets())],
        IpAddr::V6(ip) => [words(&ip.octets()), words(&ip.octets())],
    }
}

fn has_file(pid: u32, link: &str) -> bool {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd"));
    let mut files = files.into_iter().flatten().flatten();
    files.any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == link))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_socket_of_either_family_is_found() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let own = listener.local_addr().unwrap();
        let mapped = Ipv6Addr::from(0xffff_7f00_0001_u128);
        for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(mapped)] {
            let stream = TcpStream::connect((ip, own.port())).unwrap();
            let (_accepted, peer) = listener.accept().unwrap();
            let inode = inode_of(peer, own).unwrap();
            assert!(has_file(std::process::id(), &format!("socket:[{inode}]")));
            // This process is not among its own descendants.
            assert!(!is_descendant(std::process::id(), None, peer, own));
            drop(stream);
        }
    }
}
