//! The little that is needed of web addresses: their origin, what a redirect points to, and escaped paths.

/// Scheme, host and port. A token is sent to one origin only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub is_https: bool,
    pub host: String,
    pub port: u16,
}

impl Origin {
    /// `None` if the text is no `http://` or `https://` address.
    pub fn of(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = rest.split(['/', '?', '#']).next()?;
        let host_and_port = authority.rsplit('@').next()?;
        let (host, port) = match host_and_port.rsplit_once(':') {
            // An IPv6 address has colons inside brackets.
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
            _ => (host_and_port, if is_https { 443 } else { 80 }),
        };
        (!host.is_empty()).then(|| Self { is_https, host: host.to_ascii_lowercase(), port })
    }
}

/// What a `Location` header points to.
pub fn joined(base: &str, location: &str) -> String {
    if location.contains("://") && Origin::of(location).is_some() {
        return location.to_owned();
    }
    let scheme_end = base.find("://").map_or(0, |end| end + 3);
    if let Some(rest) = location.strip_prefix("//") {
        return format!("{}{rest}", &base[..scheme_end]);
    }
    let path_start = base[scheme_end..].find(['/', '?', '#']).map_or(base.len(), |start| scheme_end + start);
    if location.starts_with('/') {
        return format!("{}{location}", &base[..path_start]);
    }
    let path = base[path_start..].split(['?', '#']).next().unwrap_or_default();
    let folder = path.rfind('/').map_or("/", |end| &path[..=end]);
    format!("{}{folder}{location}", &base[..path_start])
}

/// A part of a path with everything escaped that has a meaning in addresses (RFC 3986, section 2).
pub fn escaped(part: &str) -> String {
    let mut text = String::new();
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text += &format!("%{byte:02X}");
        }
    }
    text
}

/// The address without its query, which may be a signature, for messages.
pub fn shown(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_followed_as_browsers_do() {
        let base = "https://a.org:8443/x/y?z=/1";
        for (location, url) in [
            ("https://b.org/c", "https://b.org/c"),
            ("//b.org/c", "https://b.org/c"),
            ("/c?d", "https://a.org:8443/c?d"),
            ("c", "https://a.org:8443/x/c"),
        ] {
            assert_eq!(joined(base, location), url);
        }
        assert_eq!(joined("https://a.org", "c"), "https://a.org/c");
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let origin = |url| Origin::of(url).map(|origin| (origin.is_https, origin.host, origin.port));
        assert_eq!(origin("https://A.org/b"), Some((true, "a.org".into(), 443)));
        assert_eq!(origin("http://u:p@[::1]:80/b"), Some((false, "[::1]".into(), 80)));
        assert_eq!(origin("http://[::1]/b"), Some((false, "[::1]".into(), 80)));
        assert_eq!(origin("https://a.org@evil.org/b"), Some((true, "evil.org".into(), 443)));
        assert_eq!(origin("ftp://a.org"), None);
        assert_eq!(escaped("refs/pr/1 ä"), "refs%2Fpr%2F1%20%C3%A4");
    }
}
