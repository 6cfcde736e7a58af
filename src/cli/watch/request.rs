//! Requests of HTTP: which of them are answered, and what they ask for.
//!
//! Only requests that name this machine in `Host` are answered, because a page of another site may resolve its own name
//! to 127.0.0.1 (DNS rebinding).

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// The decoded parts between `/`, without the query. A path that ends in `/` has an empty last part.
    pub path: Vec<String>,
}

/// Why there is no request to answer.
pub enum Refusal {
    /// The client left, or is too slow to be told anything.
    Gone,
    Status(u16, &'static str),
}

/// The request of a head, and whether its answer has a body.
pub fn parse(head: &[u8]) -> Result<(Request, bool), Refusal> {
    const MALFORMED: Refusal = Refusal::Status(400, "the request is malformed");
    let head = std::str::from_utf8(head).map_err(|_| MALFORMED)?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.0" | "HTTP/1.1"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(MALFORMED);
    };
    let (mut host, mut site, mut mode) = (None, "", "");
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(MALFORMED)?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "host" if host.is_some() => return Err(MALFORMED),
            "host" => host = Some(value),
            "sec-fetch-site" => site = value,
            "sec-fetch-mode" => mode = value,
            _ => {}
        }
    }
    if !host.is_some_and(is_this_machine) {
        return Err(Refusal::Status(403, "this server answers to localhost and 127.0.0.1 alone"));
    }
    // A link from elsewhere may be followed, but no other site may load anything from here.
    if site == "cross-site" && mode != "navigate" {
        return Err(Refusal::Status(403, "this server answers no other site"));
    }
    if method != "GET" && method != "HEAD" {
        return Err(Refusal::Status(405, "this server only answers GET and HEAD"));
    }
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let path = path.strip_prefix('/').ok_or(MALFORMED)?;
    let path = path.split('/').map(decoded).collect::<Option<Vec<String>>>().ok_or(MALFORMED)?;
    Ok((Request { path }, method == "GET"))
}

/// Whether `Host` names this machine. Its port may be another one: that of a tunnel.
fn is_this_machine(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') => (name, port),
        _ => (host, ""),
    };
    port.bytes().all(|byte| byte.is_ascii_digit())
        && ["localhost", "127.0.0.1", "[::1]"].iter().any(|own| name.eq_ignore_ascii_case(own))
}

/// A part of a path without percent-encoding.
fn decoded(part: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(part.len()), part.as_bytes());
    while let [byte, after @ ..] = rest {
        match (byte, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                bytes.push((digit(high)? * 16 + digit(low)?) as u8);
                rest = after;
            }
            (b'%', _) => return None,
            _ => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &str) -> Result<Vec<String>, u16> {
        match parse(head.as_bytes()) {
            Ok((request, _)) => Ok(request.path),
            Err(Refusal::Status(status, _)) => Err(status),
            Err(Refusal::Gone) => Err(0),
        }
    }

    #[test]
    fn paths_are_decoded_part_by_part() {
        let get = |target: &str| status(&format!("GET {target} HTTP/1.1\r\nHost: localhost:1"));
        assert_eq!(get("/a%20b/c%2Fd/?x=/y"), Ok(vec!["a b".into(), "c/d".into(), String::new()]));
        assert_eq!(get("/"), Ok(vec![String::new()]));
        assert_eq!(get("/../%2e%2e/x"), Ok(vec!["..".into(), "..".into(), "x".into()]));
        for malformed in ["x", "http://localhost/", "/%", "/%2", "/%zz", "/%ff", "*"] {
            assert_eq!(get(malformed), Err(400), "{malformed}");
        }
    }

    #[test]
    fn only_requests_to_this_machine_are_answered() {
        let to = |host: &str| status(&format!("GET / HTTP/1.1\r\nhOsT:  {host} ")).err();
        for own in ["localhost", "LOCALHOST:80", "127.0.0.1:7007", "[::1]:7007", "[::1]"] {
            assert_eq!(to(own), None, "{own}");
        }
        for other in
            ["", "evil.example", "evil.example:7007", "127.0.0.1.evil.example", "localhost:x", "::1", "a:b:1"]
        {
            assert_eq!(to(other), Some(403), "{other}");
        }
        assert_eq!(status("GET / HTTP/1.1"), Err(403));
        assert_eq!(status("GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example"), Err(400));
    }

    #[test]
    fn other_sites_may_link_here_but_load_nothing() {
        let from = |mode: &str| {
            let head = format!(
                "GET / HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: {mode}"
            );
            status(&head).err()
        };
        assert_eq!((from("navigate"), from("no-cors"), from("cors")), (None, Some(403), Some(403)));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let host = "\r\nHost: localhost";
        for (line, expected) in [
            ("", 400),
            ("GET /", 400),
            ("GET / HTTP/2", 400),
            ("GET / x HTTP/1.1", 400),
            ("POST / HTTP/1.1", 405),
            ("\u{0} / HTTP/1.1", 405),
        ] {
            assert_eq!(status(&format!("{line}{host}")), Err(expected), "{line}");
        }
        assert_eq!(status("GET / HTTP/1.1\r\nno header"), Err(400));
        assert!(matches!(parse(b"GET /\xff HTTP/1.1"), Err(Refusal::Status(400, _))));
    }
}
