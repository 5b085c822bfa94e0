//! The smallest useful part of YAML: lines of `key: value`, comments, and quoted strings. Anything else is an error.

use crate::error::TrainerError;

#[derive(PartialEq, Debug)]
pub struct Entry {
    /// Counted from 1.
    pub line: usize,
    pub key: String,
    pub value: String,
}

impl Entry {
    /// An error about this entry that names its line, key and value.
    pub fn error(&self, problem: &str, fix: impl Into<String>) -> TrainerError {
        let Entry { line, key, value } = self;
        TrainerError::new(format!("line {line}: {key}: '{value}': {problem}"), fix)
    }
}

/// Splits a file into its entries, in order.
pub fn parse(text: &str) -> Result<Vec<Entry>, TrainerError> {
    let mut entries: Vec<Entry> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let at_line =
            |error: TrainerError| TrainerError::new(format!("line {line_number}: {}", error.problem), error.fix);
        if let Some((key, value)) = parse_line(line).map_err(at_line)? {
            let entry = Entry {
                line: line_number,
                key,
                value,
            };
            if let Some(earlier) = entries.iter().find(|other| other.key == entry.key) {
                let problem = format!("given before, in line {}", earlier.line);
                return Err(entry.error(&problem, "keep one of the two lines"));
            }
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// The key and the value of a line; nothing for a blank one or a comment.
fn parse_line(line: &str) -> Result<Option<(String, String)>, TrainerError> {
    let content = line.trim();
    if content.is_empty() || content.starts_with('#') {
        return Ok(None);
    }
    let not_flat = || {
        TrainerError::new(
            format!("not a 'key: value' line: {content}"),
            "write 'key: value', unindented",
        )
    };
    let (key, rest) = line.split_once(':').ok_or_else(not_flat)?;
    let is_word = !key.is_empty()
        && key
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    if !is_word || !(rest.is_empty() || rest.starts_with([' ', '\t'])) {
        return Err(not_flat());
    }
    let value = parse_value(rest.trim())?;
    if value.is_empty() {
        return Err(TrainerError::new(
            format!("key '{key}' has no value"),
            "write the value on the same line",
        ));
    }
    Ok(Some((key.to_owned(), value)))
}

fn parse_value(text: &str) -> Result<String, TrainerError> {
    match text.chars().next() {
        Some(quote) if quote == '"' || quote == '\'' => parse_quoted(&text[1..], quote),
        Some(first) if "[]{}&*!|>%@`,?".contains(first) || text == "-" || text.starts_with("- ") => {
            Err(TrainerError::new(
                format!("only plain values are understood: {text}"),
                "write a number, a word, or a quoted string",
            ))
        }
        _ => Ok(without_comment(text).to_owned()),
    }
}

fn parse_quoted(text: &str, quote: char) -> Result<String, TrainerError> {
    let (value, rest) = text
        .split_once(quote)
        .ok_or_else(|| TrainerError::new("the quoted string does not end", format!("close it with {quote}")))?;
    if value.contains('\\') || !without_comment(rest).is_empty() || rest.starts_with('#') {
        return Err(TrainerError::new(
            "only simple quoted strings are understood",
            "write no escapes, and nothing but a comment after the string",
        ));
    }
    Ok(value.to_owned())
}

/// The text before a comment: a `#` at the start or after white space.
fn without_comment(text: &str) -> &str {
    let starts_comment = |&(at, letter): &(usize, char)| {
        letter == '#' && text[..at].chars().next_back().map_or(true, char::is_whitespace)
    };
    let end = text
        .char_indices()
        .find(starts_comment)
        .map_or(text.len(), |(at, _)| at);
    text[..end].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<(String, String)> {
        let entries = parse(text).expect("refused");
        entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
    }

    #[test]
    fn reads_plain_and_quoted_values_and_comments() {
        let text = "# top\n\na: 1\r\nb_2: two words # why\nc: 'x # y'  # z\nd: \"\u{e9}\"\ne: a#b\n";
        let expected = [
            ("a", "1"),
            ("b_2", "two words"),
            ("c", "x # y"),
            ("d", "\u{e9}"),
            ("e", "a#b"),
        ];
        assert_eq!(
            values(text),
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn refuses_everything_else_naming_the_line() {
        let lines = [
            "---",
            "- a",
            "a",
            "a:1",
            "  a: 1",
            "a b: 1",
            ": 1",
            "a:",
            "a: # x",
            "a: [1]",
            "a: {b: 1}",
            "a: - b",
            "a: |",
            "a: &x 1",
            "a: 'x",
            "a: 'x' y",
            "a: 'x'#y",
            "a: \"x\\n\"",
            "a: ''",
            "\u{feff}a: 1",
        ];
        for line in lines {
            let error = parse(&format!("first: 1\n{line}\n")).expect_err(line);
            assert!(error.problem.starts_with("line 2: "), "{line}: {error}");
        }
    }

    #[test]
    fn refuses_a_key_given_twice() {
        let error = parse("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!(error.problem, "line 3: a: '3': given before, in line 1");
    }
}
