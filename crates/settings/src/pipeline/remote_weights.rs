//! Weights by name: a file in a repository of the Hugging Face hub, or behind a web address.
//!
//! Only names are read here. The crate `hub` fetches the files.

use std::fmt;
use std::path::PathBuf;

/// The revision of a repository, if the name has none.
pub const DEFAULT_REVISION: &str = "main";

/// How a name of the hub is written.
const HUB_FORM: &str = "write `hf://OWNER/REPO`, `hf://OWNER/REPO@REVISION` or `hf://OWNER/REPO/FILE`";

/// A file of weights that is not on this machine, or only in a cache.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RemoteWeights {
    Hub(HubWeights),
    /// The address, with `https://` or `http://`.
    Web(String),
}

/// `hf://OWNER/REPO@REVISION/FILE`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HubWeights {
    /// `OWNER/REPO`.
    pub repository: String,
    /// A branch, a tag or a commit.
    pub revision: Option<String>,
    /// The path in the repository. `None` for its file of weights with the usual name.
    pub file: Option<String>,
}

/// A file in a cache of this machine, for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedWeights {
    pub path: PathBuf,
    /// The name that always means this content: with the commit and the path in the repository.
    pub pinned: RemoteWeights,
    /// 64 lowercase hexadecimal digits.
    pub sha256: String,
}

/// Why a text is no valid name, and what to write instead.
#[derive(Debug, PartialEq)]
pub struct NameError {
    pub message: String,
    pub help: String,
}

impl RemoteWeights {
    /// Reads the `file` of a stage. `None` if it is the path of a local file.
    pub fn parse(text: &str) -> Option<Result<Self, NameError>> {
        if let Some(name) = text.strip_prefix("hf://") {
            return Some(HubWeights::parse(name).map(Self::Hub));
        }
        if let Some(help) = misspelt(text) {
            return Some(Err(NameError { message: format!("`{text}` is no valid name of weights"), help }));
        }
        let (scheme, rest) = text.split_once("://")?;
        Some(match scheme {
            "https" | "http" => web(text, rest),
            _ => Err(NameError {
                message: format!("weights cannot be fetched from `{scheme}://`"),
                help: "download the file, and write its path; `hf://` and `https://` are fetched".into(),
            }),
        })
    }

    /// Whether `pinned` is this name with a commit and a file.
    pub fn is_pinned_by(&self, pinned: &Self) -> bool {
        match (self, pinned) {
            (Self::Hub(own), Self::Hub(other)) => {
                own.repository == other.repository
                    && own.file.as_ref().is_none_or(|file| other.file.as_ref() == Some(file))
                    && (own.commit().is_none() || own.revision == other.revision)
            }
            _ => self == pinned,
        }
    }
}

impl fmt::Display for RemoteWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub(hub) => hub.fmt(f),
            Self::Web(address) => f.write_str(address),
        }
    }
}

impl fmt::Display for HubWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { repository, revision, file } = self;
        let revision = revision.as_ref().map_or(String::new(), |revision| format!("@{revision}"));
        let file = file.as_ref().map_or(String::new(), |file| format!("/{file}"));
        write!(f, "hf://{repository}{revision}{file}")
    }
}

impl HubWeights {
    /// The revision, or the default branch.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(DEFAULT_REVISION)
    }

    /// The revision, if it is a full commit hash.
    pub fn commit(&self) -> Option<&str> {
        self.revision.as_deref().filter(|revision| is_commit(revision))
    }

    /// Reads what follows `hf://`.
    fn parse(name: &str) -> Result<Self, NameError> {
        let wrong = |message: String, help: &str| NameError { message, help: help.to_owned() };
        let name = name.strip_prefix("models/").unwrap_or(name);
        if let Some(kind) =
            ["datasets/", "spaces/", "buckets/", "kernels/"].iter().find(|kind| name.starts_with(*kind))
        {
            let message = format!("`hf://{kind}…` does not name a model");
            return Err(wrong(message, "weights are in repositories of models: `hf://OWNER/REPO`"));
        }
        let (owner, rest) = name.split_once('/').unwrap_or((name, ""));
        let (repository, rest) = match rest.find(['@', '/']) {
            Some(end) => rest.split_at(end),
            None => (rest, ""),
        };
        if !is_name(owner) || !is_name(repository) {
            return Err(wrong(format!("`hf://{name}` has no valid owner and repository"), HUB_FORM));
        }
        let (revision, file) = match rest.strip_prefix('@') {
            None => (None, rest),
            Some(rest) => {
                // The only revisions with `/` that are common.
                let skipped = if rest.starts_with("refs/pr/") { "refs/pr/".len() } else { 0 };
                let end = rest[skipped..].find('/').map_or(rest.len(), |end| skipped + end);
                let (revision, file) = rest.split_at(end);
                if !revision.split('/').all(is_segment) {
                    return Err(wrong(format!("`@{revision}` is no valid revision"), HUB_FORM));
                }
                (Some(revision.to_owned()), file)
            }
        };
        let file = match file.strip_prefix('/') {
            None | Some("") => None,
            Some(file) if file.split('/').all(is_segment) => Some(file.to_owned()),
            Some(file) => return Err(wrong(format!("`{file}` is no valid path in a repository"), HUB_FORM)),
        };
        Ok(Self { repository: format!("{owner}/{repository}"), revision, file })
    }
}

/// Reads a web address. Pages and downloads of the hub's website are names of the hub.
fn web(text: &str, rest: &str) -> Result<RemoteWeights, NameError> {
    let wrong = |message: &str, help: String| Err(NameError { message: message.to_owned(), help });
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if ["huggingface.co", "hf.co", "www.huggingface.co"].contains(&host) {
        return of_website(path);
    }
    if host.contains('@') {
        let help =
            "remove it: pipeline files are copied into run directories; fetch the file by hand".to_owned();
        return wrong("the address contains a user name or password", help);
    }
    if text.contains(|c: char| c.is_control() || c.is_whitespace() || "\\\"<>`{}|^".contains(c)) {
        return wrong("the address has characters that are not allowed", "write them as `%20`".into());
    }
    if text.contains('#') {
        return wrong("the address has a `#`", "remove it and what follows it".into());
    }
    let path = path.split('?').next().unwrap_or_default();
    if host.is_empty() || path.rsplit('/').next().is_none_or(str::is_empty) {
        return wrong(
            "the address does not name a file",
            "write the address of the file itself, such as `https://HOST/FOLDER/NAME.pth`".into(),
        );
    }
    Ok(RemoteWeights::Web(text.to_owned()))
}

/// Reads the path of a page: `OWNER/REPO/resolve/REVISION/FILE`, also with `blob` or `tree`.
fn of_website(path: &str) -> Result<RemoteWeights, NameError> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let parts: Vec<&str> = path.trim_end_matches('/').splitn(5, '/').collect();
    let name = match parts[..] {
        [owner, repository] => format!("{owner}/{repository}"),
        [owner, repository, "resolve" | "blob" | "raw" | "tree", revision] => {
            format!("{owner}/{repository}@{revision}")
        }
        [owner, repository, "resolve" | "blob" | "raw", revision, file] => {
            // `main` is the default: the name in the cache is the same.
            let revision = if revision == DEFAULT_REVISION { String::new() } else { format!("@{revision}") };
            format!("{owner}/{repository}{revision}/{file}")
        }
        _ => path.to_owned(),
    };
    HubWeights::parse(&name)
        .map(RemoteWeights::Hub)
        .map_err(|error| NameError { help: HUB_FORM.into(), ..error })
}

/// What to write instead of something similar to a name.
fn misspelt(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    for host in ["huggingface.co/", "www.huggingface.co/", "hf.co/"] {
        if let Some(path) = lower.strip_prefix(host) {
            let path = &text[text.len() - path.len()..];
            return Some(of_website(path).map_or(HUB_FORM.to_owned(), |name| format!("write `{name}`")));
        }
    }
    for prefix in ["hf:", "huggingface:", "hf-hub:", "hf_hub:"] {
        if let Some(rest) = lower.strip_prefix(prefix) {
            let rest = text[text.len() - rest.len()..].trim_start_matches('/');
            return Some(match HubWeights::parse(rest) {
                Ok(name) => format!("write `{name}`"),
                Err(_) => HUB_FORM.to_owned(),
            });
        }
    }
    for scheme in ["https:", "http:"] {
        if let Some(rest) = lower.strip_prefix(scheme) {
            let rest = &text[text.len() - rest.len()..];
            let sound = text.starts_with(scheme) && rest.starts_with("//") && !rest.starts_with("///");
            let address = format!("{scheme}//{}", rest.trim_start_matches('/'));
            return (!sound).then(|| format!("write `{address}`"));
        }
    }
    None
}

/// A full commit hash: 40 hexadecimal digits.
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A valid name of an owner or a repository: the hub allows no others, and each is a folder of the cache.
fn is_name(text: &str) -> bool {
    let usable = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    text.len() <= 96
        && text.chars().all(usable)
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && !text.contains("--")
        && !text.contains("..")
}

/// A part of a path or revision that is safe as a name of a file.
fn is_segment(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 200
        && text != "."
        && text != ".."
        && !text.contains(|c: char| c.is_control() || "\\:@?#%*\"<>|".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        match RemoteWeights::parse(text) {
            None => "a path".to_owned(),
            Some(Ok(name)) => name.to_string(),
            Some(Err(error)) => format!("{}; {}", error.message, error.help),
        }
    }

    #[test]
    fn names_are_read_and_written_back() {
        for name in [
            "hf://timm/resnet50.a1_in1k",
            "hf://timm/resnet50.a1_in1k@v1.0",
            "hf://timm/resnet50.a1_in1k@refs/pr/3/model.safetensors",
            "hf://a/b/sub/pytorch_model.bin",
            "https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
            "http://127.0.0.1:8000/x.safetensors?version=2",
        ] {
            assert_eq!(parsed(name), name);
        }
        for path in ["weights/a.pth", "C:\\a.pth", "/a/b.pth", "hf.pth", "a:b.pth", "timm/resnet50"] {
            assert_eq!(parsed(path), "a path", "{path}");
        }
    }

    #[test]
    fn pages_of_the_website_are_names_of_the_hub() {
        let page = "https://huggingface.co/timm/vit/blob/main/model.safetensors";
        assert_eq!(parsed(page), "hf://timm/vit/model.safetensors");
        assert_eq!(
            parsed("https://hf.co/timm/vit/resolve/v2/a/b.bin?download=true"),
            "hf://timm/vit@v2/a/b.bin"
        );
        assert_eq!(parsed("https://huggingface.co/timm/vit/"), "hf://timm/vit");
        assert_eq!(parsed("https://huggingface.co/timm/vit/tree/v2"), "hf://timm/vit@v2");
    }

    #[test]
    fn a_misspelt_name_says_what_to_write() {
        for (typed, written) in [
            ("hf:/timm/vit", "write `hf://timm/vit`"),
            ("hf:timm/vit", "write `hf://timm/vit`"),
            ("HF://timm/vit", "write `hf://timm/vit`"),
            ("hf-hub:timm/vit", "write `hf://timm/vit`"),
            ("huggingface.co/timm/vit/resolve/main/a.bin", "write `hf://timm/vit/a.bin`"),
            ("https:/a.org/b.pth", "write `https://a.org/b.pth`"),
            ("HTTPS://a.org/b.pth", "write `https://a.org/b.pth`"),
            ("s3://bucket/b.pth", "download the file"),
            ("hf://datasets/a/b", "OWNER/REPO"),
            ("hf://gpt2", "OWNER/REPO"),
            ("hf://a/b@", "REVISION"),
            ("hf://a/b/../../c", "FILE"),
            ("hf://a/b//c", "FILE"),
            ("hf://../b", "OWNER/REPO"),
            ("https://a.org/", "the address of the file itself"),
            ("https://me:secret@a.org/b.pth", "remove it"),
            ("https://a.org/b c.pth", "%20"),
            ("https://huggingface.co/models", "OWNER/REPO"),
        ] {
            let told = parsed(typed);
            assert!(told.contains(written), "{typed}: {told}");
        }
    }

    #[test]
    fn a_pinned_name_belongs_to_the_name_without_a_commit() {
        let name = |text: &str| RemoteWeights::parse(text).unwrap().unwrap();
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let pinned = name(&format!("hf://a/b@{commit}/model.safetensors"));
        for open in ["hf://a/b", "hf://a/b@main", "hf://a/b/model.safetensors"] {
            assert!(name(open).is_pinned_by(&pinned), "{open}");
        }
        for other in ["hf://a/c", "hf://a/b/other.bin", "hf://a/b@1111111111111111111111111111111111111111"] {
            assert!(!name(other).is_pinned_by(&pinned), "{other}");
        }
    }
}
