//! Stand-in.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedbackFilter(String);
impl std::str::FromStr for FeedbackFilter {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let ok = text.starts_with(|c: char| c.is_ascii_alphabetic()) && !text.contains("==");
        if ok { Ok(Self(String::from(text))) } else { Err(String::from("invalid expression format")) }
    }
}
impl std::fmt::Display for FeedbackFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
