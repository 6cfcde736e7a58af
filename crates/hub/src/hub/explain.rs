//! Errors of the network, with what to do by hand.

use super::http::Response;
use super::url::{Origin, escaped, shown};
use crate::error::{Error, ErrorKind};
use crate::pipeline::HubWeights;

/// Status 404.
const NOT_FOUND: u16 = 404;

/// The page or file of a repository on the hub. Without a file, the one that most have.
pub fn hub_url(endpoint: &str, hub: &HubWeights, file: &str) -> String {
    let file = file.split('/').map(escaped).collect::<Vec<_>>().join("/");
    format!("{endpoint}/{}/resolve/{}/{file}", hub.repository, escaped(hub.revision()))
}

/// Adds what to do without a connection. Wrong names are errors that this does not help with.
pub fn by_hand(error: Error, url: &str) -> Error {
    if error.kind != ErrorKind::Failed {
        return error;
    }
    let own = error.hint.clone().map_or(String::new(), |hint| format!("{hint}. "));
    let url = shown(url);
    error.hint(format!(
        "{own}By hand: download `{url}` on another machine, copy it here, and write its path as `file`"
    ))
}

/// A connection that is forbidden.
pub fn offline(name: &str, variable: &str, url: &str) -> Error {
    let error = Error::failed(format!("`{name}` is not fetched yet, and `{variable}` forbids connections"));
    by_hand(
        error.hint(format!(
            "unset `{variable}`, or run `defrost weights fetch {name}` where there is a network"
        )),
        url,
    )
}

/// A final answer of the hub that is not the file.
pub fn refused_by_hub(
    endpoint: &str,
    hub: &HubWeights,
    file: &str,
    has_token: bool,
    response: &Response,
) -> Error {
    let (repository, revision) = (&hub.repository, hub.revision());
    let page = format!("{endpoint}/{repository}");
    let log_in =
        "create a token at https://huggingface.co/settings/tokens, and set `HF_TOKEN` or run `hf auth login`";
    let code = response.header("x-error-code").unwrap_or_default();
    let told = response.header("x-error-message").unwrap_or_default();
    match (response.status, code) {
        (_, "GatedRepo") => {
            let accept = format!("accept its conditions at {page}");
            let hint = if has_token { accept } else { format!("{accept}; then {log_in}") };
            Error::failed(format!("`{repository}` is gated: its authors must grant access")).hint(hint)
        }
        (_, "RevisionNotFound") => Error::usage(format!("`{repository}` has no revision `{revision}`"))
            .hint(format!("look at {page}/commits/main, or remove `@{revision}`")),
        (_, "EntryNotFound") => Error::usage(format!("`{repository}` has no file `{file}` at `{revision}`"))
            .hint(format!("look at {page}/tree/{revision}")),
        (401, _) if has_token && told.contains("Invalid credentials") => {
            Error::failed("the hub does not accept the token").hint(format!("{log_in} again, or remove it"))
        }
        // Also the answer for private repositories and those that do not exist, so that nobody can tell.
        (401 | NOT_FOUND, _) => {
            let hint = format!("check the name at {page}");
            let hint = if has_token { hint } else { format!("{hint}; if it is private, {log_in}") };
            Error::usage(format!("the hub has no repository `{repository}`, or it is private")).hint(hint)
        }
        (403, _) => Error::failed(format!("the hub refuses access to `{repository}`{}", because(told)))
            .hint(format!("look at {page}, and at the permissions of your token")),
        (status, _) => {
            Error::failed(format!("the hub answers with status {status} for `{repository}`{}", because(told)))
        }
    }
}

fn because(told: &str) -> String {
    if told.is_empty() { String::new() } else { format!(": {told}") }
}

/// A final answer of another server that is not the file.
pub fn refused_by_server(url: &str, response: &Response) -> Error {
    let server = Origin::of(url).map_or_else(String::new, |origin| origin.host);
    let url = shown(url);
    match response.status {
        NOT_FOUND | 410 => Error::usage(format!("`{server}` has no file `{url}`"))
            .hint("check the address; `defrost weights` lists known ones"),
        status @ (401 | 403) => Error::failed(format!("`{server}` refuses `{url}` with status {status}"))
            .hint("the file needs a login or a signed address"),
        status => Error::failed(format!("`{server}` answers with status {status} for `{url}`")),
    }
}
