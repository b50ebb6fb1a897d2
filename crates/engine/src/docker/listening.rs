//! Where a container's processes listen, as its network namespace tells through `/proc/<pid>/net/tcp{,6}` (proc(5)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The state `LISTEN` in the kernel's table.
const LISTEN: &str = "0A";

/// Listening sockets of the network namespace of a container's process; empty where it cannot be read, and where the
/// process of that number is another one: Slipway may itself run in a container, with numbers of its own.
pub(crate) async fn of_container(pid: i64, container: &str) -> Vec<SocketAddr> {
    let groups = tokio::fs::read_to_string(format!("/proc/{pid}/cgroup")).await;
    if !groups.is_ok_and(|text| text.contains(container)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        if let Ok(text) = tokio::fs::read_to_string(format!("/proc/{pid}/net/{table}")).await {
            found.extend(parse(&text));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Listening sockets of one table. Docker's own resolver on 127.0.0.11 is left out.
fn parse(table: &str) -> Vec<SocketAddr> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let local = words.next()?;
            (words.nth(1)? == LISTEN).then(|| address(local)).flatten()
        })
        .filter(|a| a.ip() != IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11)))
        .collect()
}

/// `0100007F:1F90`: words of four bytes in host order, the port in network order.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<u32>> = (0..ip.len() / 8)
        .map(|i| u32::from_str_radix(&ip[i * 8..i * 8 + 8], 16).ok())
        .collect();
    let bytes: Vec<u8> = words?.iter().flat_map(|w| w.to_ne_bytes()).collect();
    let ip = match bytes.len() {
        4 => IpAddr::V4(<[u8; 4]>::try_from(bytes).ok()?.into()),
        16 => {
            let v6 = Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?);
            v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_sockets_are_read_and_connections_are_not() {
        let table = "  sl  local_address rem_address   st tx_queue
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000
   1: 00000000:0050 00000000:0000 0A 00000000:00000000
   2: 0B00007F:A5C3 00000000:0000 0A 00000000:00000000
   3: 0200D20A:1F90 0100D20A:C350 01 00000000:00000000";
        let found: Vec<String> = parse(table).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.1:8080", "0.0.0.0:80"]);
        let table6 = "  sl  local_address rem_address st
   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0
   1: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A 0";
        let found: Vec<String> = parse(table6).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["[::]:8080", "[::1]:8081"]);
    }
}
