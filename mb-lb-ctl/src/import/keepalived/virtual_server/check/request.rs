//! `url` of `HTTP_GET` and `SSL_GET`.

use super::{Node, Place};
use crate::import::block::Block;
use crate::import::report::Verdict;
use crate::import::value::{list, quote};

pub(super) fn entries(place: Place<'_>, entries: &mut Vec<(String, String)>) {
    let url = place.check.child("url");
    let path = url
        .and_then(|url| url.child("path")?.word(1))
        .unwrap_or("/");
    entries.push(("path".to_owned(), quote(path)));
    let status = url
        .and_then(|url| url.child("status_code"))
        .filter(|status| status.words.len() > 1);
    if let Some(status) = status {
        entries.push(("expect".to_owned(), list(&status.words[1..])));
    }
    let host = url
        .and_then(|url| url.child("virtualhost"))
        .or(place.nearest(&["virtualhost"]));
    let host = host.and_then(|host| host.word(1));
    entries.extend(host.map(|host| ("host".to_owned(), quote(host))));
    if place.check.is("SSL_GET") {
        entries.push(("tls".to_owned(), "{ verify = \"none\" }".to_owned()));
    }
}

/// Of several pages the last one counts, as `child` has it.
pub(super) fn lines(url: &Node, chosen: Option<&Node>, block: &mut Block) {
    if chosen.is_none_or(|chosen| chosen.at != url.at) {
        let note = "one page of a server is asked for, the last one here";
        return url.each(&mut |node| block.claim(node.at, Verdict::Unsupported, note));
    }
    block.claim(url.at, Verdict::Mapped, "`check`");
    for child in &url.children {
        match child.word(0).unwrap_or_default() {
            "path" | "status_code" | "virtualhost" => {
                block.claim(child.at, Verdict::Mapped, "`check`")
            }
            "digest" => {
                let note =
                    "digests of pages are not compared: `body` or `body_regex` look for text";
                block.claim(child.at, Verdict::Unsupported, note);
            }
            _ => child.each(&mut |node| {
                block.claim(node.at, Verdict::Unsupported, "not there in checks")
            }),
        }
    }
}
