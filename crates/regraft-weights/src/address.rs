//! Web addresses: their credentials, escapes and relative links, as far as downloads need them.

use base64::Engine;

/// The address without user and password, and these as an `Authorization` header.
pub(crate) fn split_credentials(url: &str) -> (String, Option<String>) {
    let Some((scheme, rest)) = url.split_once("://") else {
        return (url.to_owned(), None);
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let Some((credentials, host)) = authority.rsplit_once('@') else {
        return (url.to_owned(), None);
    };
    let clean = format!("{scheme}://{host}{}", &rest[authority.len()..]);
    let encoded = base64::prelude::BASE64_STANDARD.encode(percent_decode(credentials));
    (clean, Some(format!("Basic {encoded}")))
}

/// The address as errors and logs may show it: without credentials and without the signed query of a redirect.
pub(crate) fn redacted(url: &str) -> String {
    let (clean, _) = split_credentials(url);
    clean.split(['?', '#']).next().unwrap_or(&clean).to_owned()
}

/// Decodes `%40` and the like; anything that is no escape stays as it is.
pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut position = 0;
    while let Some(&byte) = bytes.get(position) {
        let escape = (byte == b'%')
            .then(|| text.get(position + 1..position + 3))
            .flatten();
        if let Some(value) = escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            decoded.push(value);
            position += 3;
        } else {
            decoded.push(byte);
            position += 1;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Resolves a link of a page (RFC 3986, as far as listings need it).
pub(crate) fn join(page: &str, link: &str) -> String {
    let link = link.split('#').next().unwrap_or(link);
    if link.contains("://") {
        return link.to_owned();
    }
    let (scheme, rest) = page.split_once("://").unwrap_or(("https", page));
    if let Some(elsewhere) = link.strip_prefix("//") {
        return format!("{scheme}://{elsewhere}");
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.split(['?', '#']).next().unwrap_or(path);
    // The page itself is the last segment of its path.
    let mut segments: Vec<&str> = if link.starts_with('/') {
        Vec::new()
    } else {
        path.split('/').rev().skip(1).collect()
    };
    segments.reverse();
    for segment in link.trim_start_matches('/').split('/') {
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("{scheme}://{host}/{}", segments.join("/"))
}

/// Private indexes want the same user for their files; other hosts must not see them.
pub(crate) fn with_credentials_of(index: &str, url: &str) -> String {
    let authority = |url: &str| -> Option<(String, String)> {
        let (scheme, rest) = url.split_once("://")?;
        Some((
            scheme.to_owned(),
            rest.split(['/', '?', '#']).next()?.to_owned(),
        ))
    };
    let (Some((scheme, from)), Some((to_scheme, to))) = (authority(index), authority(url)) else {
        return url.to_owned();
    };
    match from.rsplit_once('@') {
        Some((credentials, host)) if scheme == to_scheme && host == to => {
            url.replacen("://", &format!("://{credentials}@"), 1)
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_never_show_and_become_a_header() {
        let url = "https://ada:s%40cret@pypi.example:8080/simple/?a=b@c";
        let (clean, authorization) = split_credentials(url);
        assert_eq!(clean, "https://pypi.example:8080/simple/?a=b@c");
        assert_eq!(authorization.as_deref(), Some("Basic YWRhOnNAY3JldA=="));
        assert_eq!(redacted(url), "https://pypi.example:8080/simple/");
        assert_eq!(
            split_credentials("https://pypi.example/@x"),
            ("https://pypi.example/@x".to_owned(), None)
        );
    }

    #[test]
    fn percent_decoding_leaves_what_is_no_escape() {
        assert_eq!(percent_decode("refs%2Fpr%2f1"), "refs/pr/1");
        assert_eq!(percent_decode("100%, %zz, %4"), "100%, %zz, %4");
        assert_eq!(percent_decode("%é"), "%é");
    }

    #[test]
    fn links_resolve_against_their_page() {
        let base = "https://mirror.example/root/simple/pkg/";
        for (link, url) in [
            (
                "https://files.example/a.whl#sha256=0",
                "https://files.example/a.whl",
            ),
            ("//files.example/a.whl", "https://files.example/a.whl"),
            ("/files/a.whl", "https://mirror.example/files/a.whl"),
            ("a.whl", "https://mirror.example/root/simple/pkg/a.whl"),
            ("./a.whl", "https://mirror.example/root/simple/pkg/a.whl"),
            (
                "../../files/a.whl?x=1",
                "https://mirror.example/root/files/a.whl?x=1",
            ),
            ("../../../../../a.whl", "https://mirror.example/a.whl"),
        ] {
            assert_eq!(join(base, link), url, "{link}");
        }
    }

    #[test]
    fn credentials_go_to_the_index_alone() {
        let index = "https://ada:secret@pypi.example/simple";
        assert_eq!(
            with_credentials_of(index, "https://pypi.example/f/a.whl"),
            "https://ada:secret@pypi.example/f/a.whl"
        );
        assert_eq!(
            with_credentials_of(index, "https://cdn.example/a.whl"),
            "https://cdn.example/a.whl"
        );
        assert_eq!(
            with_credentials_of(index, "http://pypi.example/a.whl"),
            "http://pypi.example/a.whl"
        );
    }
}
