//! Where caches and servers are, from variables that the caller looks up.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The variables of the Hugging Face libraries, of PyTorch and of the system.
#[derive(Clone, Debug)]
pub struct HubSettings {
    /// The address of the hub, without a slash at the end.
    pub endpoint: String,
    /// The cache that is shared with Python's `huggingface_hub`.
    pub hub_cache: PathBuf,
    /// The cache of files that are not from the hub.
    pub web_cache: PathBuf,
    /// The folder in which PyTorch keeps downloaded weights.
    pub torch_checkpoints: PathBuf,
    /// The access token. It is sent to the hub alone.
    pub token: Option<String>,
    /// The variable that forbids connections, if one is set.
    pub offline: Option<&'static str>,
    pub proxies: Proxies,
    /// Certificates of authorities that are used instead of the system's: a file, and a folder.
    pub certificates: (Option<PathBuf>, Option<PathBuf>),
    /// How long a server may send nothing.
    pub patience: Duration,
}

/// Proxies, as addresses.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    pub https: Option<String>,
    pub http: Option<String>,
    /// Hosts that are reached without a proxy, from `NO_PROXY`.
    pub bypass: Vec<String>,
}

const ENDPOINT: &str = "https://huggingface.co";
const PATIENCE: Duration = Duration::from_secs(30);

impl HubSettings {
    /// `variable` looks up an environment variable, `home` is the user's home folder.
    pub fn new(variable: &dyn Fn(&str) -> Option<String>, home: &Path) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let folder = |name: &str| set(name).map(|text| expanded(&text, home));
        let is_on = |name: &str| {
            set(name).is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str()))
        };
        let caches = folder("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache"));
        let hf_home = folder("HF_HOME").unwrap_or_else(|| caches.join("huggingface"));
        let torch_home = folder("TORCH_HOME").unwrap_or_else(|| caches.join("torch"));
        let token_file = folder("HF_TOKEN_PATH").unwrap_or_else(|| hf_home.join("token"));
        let stored =
            || fs::read_to_string(token_file).ok().filter(|_| !is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN"));
        let token = set("HF_TOKEN").or_else(|| set("HUGGING_FACE_HUB_TOKEN")).or_else(stored);
        let token = token.map(|token| token.trim().to_owned());
        let seconds = set("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|text| text.parse().ok());
        Self {
            endpoint: set("HF_ENDPOINT").unwrap_or(ENDPOINT.into()).trim_end_matches('/').to_owned(),
            hub_cache: folder("HF_HUB_CACHE")
                .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
                .unwrap_or_else(|| hf_home.join("hub")),
            web_cache: folder("DEFROST_CACHE").unwrap_or_else(|| caches.join("defrost")).join("weights"),
            torch_checkpoints: torch_home.join("hub/checkpoints"),
            token: token.filter(|token| !token.is_empty() && token.chars().all(|c| c.is_ascii_graphic())),
            offline: ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].into_iter().find(|name| is_on(name)),
            proxies: Proxies::new(&set),
            certificates: (
                folder("SSL_CERT_FILE")
                    .or_else(|| folder("REQUESTS_CA_BUNDLE"))
                    .or_else(|| folder("CURL_CA_BUNDLE")),
                folder("SSL_CERT_DIR"),
            ),
            patience: seconds.filter(|seconds| *seconds > 0).map_or(PATIENCE, Duration::from_secs),
        }
    }
}

impl Proxies {
    fn new(set: &dyn Fn(&str) -> Option<String>) -> Self {
        let either = |upper: &str| set(upper).or_else(|| set(&upper.to_lowercase()));
        let all = || either("ALL_PROXY");
        let bypass = either("NO_PROXY").unwrap_or_default();
        Self {
            https: either("HTTPS_PROXY").or_else(all),
            // `HTTP_PROXY` could be set by a header in a CGI program; curl ignores it for this reason.
            http: set("http_proxy").or_else(|| set("HTTP_PROXY")).or_else(all),
            bypass: bypass.split([',', ' ']).filter(|host| !host.is_empty()).map(str::to_owned).collect(),
        }
    }

    /// The proxy for an address of this scheme and host.
    pub fn of(&self, is_https: bool, host: &str, port: u16) -> Option<&str> {
        let bypassed = self.bypass.iter().any(|entry| {
            let (name, wanted) = match entry.rsplit_once(':') {
                Some((name, wanted)) if !name.contains(':') => (name, wanted.parse().ok()),
                _ => (entry.as_str(), None),
            };
            let name = name.trim_start_matches('*').trim_start_matches('.').to_ascii_lowercase();
            let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
            let fits = name.is_empty() || host == name || host.ends_with(&format!(".{name}"));
            fits && wanted.is_none_or(|wanted: u16| wanted == port)
        });
        if bypassed {
            None
        } else if is_https {
            self.https.as_deref()
        } else {
            self.http.as_deref()
        }
    }
}

/// A path in which `~` at the start is the home folder.
fn expanded(text: &str, home: &Path) -> PathBuf {
    match text.strip_prefix('~') {
        Some("") => home.to_owned(),
        Some(rest) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> HubSettings {
        let lookup =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        HubSettings::new(&lookup, Path::new("/home/me"))
    }

    #[test]
    fn caches_are_where_python_has_them() {
        let hub = |variables| settings(variables).hub_cache.display().to_string();
        assert_eq!(hub(&[]), "/home/me/.cache/huggingface/hub");
        assert_eq!(hub(&[("XDG_CACHE_HOME", "/c")]), "/c/huggingface/hub");
        assert_eq!(hub(&[("HF_HOME", "~/hf"), ("XDG_CACHE_HOME", "/c")]), "/home/me/hf/hub");
        assert_eq!(hub(&[("HF_HUB_CACHE", "/d"), ("HF_HOME", "/e")]), "/d");
        assert_eq!(settings(&[]).web_cache, Path::new("/home/me/.cache/defrost/weights"));
        assert_eq!(settings(&[("TORCH_HOME", "/t")]).torch_checkpoints, Path::new("/t/hub/checkpoints"));
    }

    #[test]
    fn a_token_is_one_word() {
        assert_eq!(settings(&[("HF_TOKEN", " hf_x\n")]).token.as_deref(), Some("hf_x"));
        assert_eq!(settings(&[("HF_TOKEN", "a\r\nHost: b")]).token, None);
        assert_eq!(settings(&[("HF_ENDPOINT", "http://localhost/")]).endpoint, "http://localhost");
        assert_eq!(settings(&[("HF_HUB_OFFLINE", "yes")]).offline, Some("HF_HUB_OFFLINE"));
        assert_eq!(settings(&[("HF_HUB_OFFLINE", "0")]).offline, None);
    }

    #[test]
    fn hosts_of_no_proxy_and_below_are_reached_directly() {
        let of = |variables, is_https, host| {
            settings(variables).proxies.of(is_https, host, 443).map(str::to_owned)
        };
        let set = [("https_proxy", "http://p:1"), ("NO_PROXY", "localhost, .inner.org,a.org:80")];
        assert_eq!(of(&set, true, "huggingface.co").as_deref(), Some("http://p:1"));
        for host in ["localhost", "inner.org", "x.INNER.org"] {
            assert_eq!(of(&set, true, host), None, "{host}");
        }
        assert!(of(&set, true, "notinner.org").is_some() && of(&set, true, "a.org").is_some());
        assert_eq!(of(&set, false, "huggingface.co"), None);
        assert_eq!(of(&[("ALL_PROXY", "socks5://q"), ("NO_PROXY", "*")], false, "x"), None);
        assert_eq!(of(&[("ALL_PROXY", "socks5://q")], false, "x").as_deref(), Some("socks5://q"));
    }
}
