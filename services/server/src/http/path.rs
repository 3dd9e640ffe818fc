//! The path of a request, decoded and cut at slashes.
//!
//! Leading and trailing slashes do not count. A path that is not clean (empty, `.` or `..` segments inside) is
//! answered by a redirect. Cutting comes after decoding, so an encoded slash separates like a plain one.

/// More segments than any route has.
const MAX_SEGMENTS: usize = 8;

/// What became of a path.
#[derive(Debug)]
pub(crate) enum Cut {
    /// Segments to route by.
    Segments(Segments),
    /// Not clean; this is the clean one, encoded.
    Redirect(String),
    /// Not percent-encoded UTF-8.
    Malformed,
}

/// Where the segments of a path are; the text is kept only if it differs from the request's own.
#[derive(Debug)]
pub(crate) struct Segments {
    decoded: Option<Box<str>>,
    cuts: [(u32, u32); MAX_SEGMENTS],
    count: usize,
}

impl Segments {
    /// Number of segments; one more than a route can have if there are too many.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The segment at `index`; `path` is what was given to [`cut`].
    pub(crate) fn get<'a>(&'a self, path: &'a str, index: usize) -> &'a str {
        let (start, end) = self.cuts[index];
        let text = self.decoded.as_deref().unwrap_or(path);
        &text[start as usize..end as usize]
    }
}

/// Decodes and cuts `path`.
pub(crate) fn cut(path: &str) -> Cut {
    if !path.as_bytes().contains(&b'%') {
        return split(path, None);
    }
    match decode(path, false) {
        Some(decoded) => split(path, Some(decoded.into_boxed_str())),
        None => Cut::Malformed,
    }
}

fn split(path: &str, decoded: Option<Box<str>>) -> Cut {
    let text = decoded.as_deref().unwrap_or(path);
    let mut cuts = [(0, 0); MAX_SEGMENTS];
    let mut count = 0;
    let mut start = usize::from(text.starts_with('/'));
    while start < text.len() {
        let end = text.as_bytes()[start..]
            .iter()
            .position(|&byte| byte == b'/')
            .map_or(text.len(), |at| start + at);
        let segment = &text[start..end];
        if matches!(segment, "" | "." | "..") {
            return Cut::Redirect(clean(text));
        }
        if count < MAX_SEGMENTS {
            cuts[count] = (offset(start), offset(end));
        }
        count += 1;
        start = end + 1;
    }
    Cut::Segments(Segments { decoded, cuts, count })
}

/// A request's head is far smaller than 4 GiB.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The clean form of a decoded path, encoded again.
fn clean(text: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    let mut clean = String::with_capacity(text.len());
    for segment in &kept {
        clean.push('/');
        encode(segment, &mut clean);
    }
    if clean.is_empty() || text.ends_with('/') {
        clean.push('/');
    }
    clean
}

fn encode(segment: &str, out: &mut String) {
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,:;=@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let digit = |nibble: u8| char::from(b"0123456789ABCDEF"[usize::from(nibble)]);
            out.push('%');
            out.push(digit(byte >> 4));
            out.push(digit(byte & 15));
        }
    }
}

/// Percent-decodes; `None` if an escape is broken or the result is not UTF-8. In queries `+` is a blank.
pub(crate) fn decode(text: &str, plus_is_blank: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hexadecimal(rest.next()?)? << 4 | hexadecimal(rest.next()?)?,
            b'+' if plus_is_blank => b' ',
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hexadecimal(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(path: &str) -> Vec<String> {
        match cut(path) {
            Cut::Segments(segments) => {
                (0..segments.len()).map(|index| segments.get(path, index).to_owned()).collect()
            }
            other @ (Cut::Redirect(_) | Cut::Malformed) => panic!("{path} gave {other:?}"),
        }
    }

    fn redirect(path: &str) -> String {
        match cut(path) {
            Cut::Redirect(to) => to,
            other @ (Cut::Segments(_) | Cut::Malformed) => panic!("{path} gave {other:?}"),
        }
    }

    #[test]
    fn outer_slashes_do_not_count() {
        assert_eq!(segments("/api/latest"), ["api", "latest"]);
        assert_eq!(segments("/api/latest/"), ["api", "latest"]);
        assert_eq!(segments("/"), Vec::<String>::new());
    }

    #[test]
    fn segments_are_decoded_before_they_are_cut() {
        assert_eq!(segments("/api/user/with%20space"), ["api", "user", "with space"]);
        assert_eq!(segments("/api/user/%C3%BC%2541"), ["api", "user", "ü%41"]);
        assert_eq!(segments("/api/item/i%2Fslash"), ["api", "item", "i", "slash"]);
        assert_eq!(segments("/api/user/a+b"), ["api", "user", "a+b"]);
    }

    #[test]
    fn unclean_paths_are_redirected_to_the_clean_one() {
        assert_eq!(redirect("/api/recommend/new-user//"), "/api/recommend/new-user/");
        assert_eq!(redirect("//evil.example/x"), "/evil.example/x");
        assert_eq!(redirect("/api/./a/../b"), "/api/b");
        assert_eq!(redirect("/.."), "/");
        assert_eq!(redirect("/api//%C3%BC%20%0D"), "/api/%C3%BC%20%0D");
    }

    #[test]
    fn broken_escapes_and_broken_text_are_refused() {
        for path in ["/api/user/%", "/api/user/%4", "/api/user/%zz", "/api/user/%ff", "/api/user/%+1"] {
            assert!(matches!(cut(path), Cut::Malformed), "{path}");
        }
    }

    #[test]
    fn too_many_segments_are_counted_but_not_kept() {
        match cut("/a/b/c/d/e/f/g/h/i/j") {
            Cut::Segments(segments) => assert_eq!(segments.len(), 10),
            Cut::Redirect(_) | Cut::Malformed => panic!("clean path"),
        }
    }
}
