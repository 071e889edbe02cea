//! Flat JSON, read strictly and written plainly, without a dependency.
//!
//! One object of strings, whole numbers, booleans and nulls is all that crosses the border of
//! this module. Everything else is refused with a short reason. Nothing here panics, for any
//! input: the tests of the target rely on the fact that a panic was *asked for*.

/// A flat object has a handful of fields; more than this is not a request.
const FIELDS_MAX: usize = 32;

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
}

pub type Fields = Vec<(String, Value)>;
pub type Reason = &'static str;

/// Reads one flat object and nothing after it.
pub fn parse_object(input: &[u8]) -> Result<Fields, Reason> {
    let text = std::str::from_utf8(input).map_err(|_| "the input is not UTF-8")?;
    let mut reader = Reader { text, at: 0 };
    let fields = reader.object()?;
    reader.skip_space();
    if reader.at != text.len() {
        return Err("there is something after the object");
    }
    Ok(fields)
}

pub fn find<'a>(fields: &'a Fields, name: &str) -> Option<&'a Value> {
    fields.iter().find(|(key, _)| key == name).map(|(_, v)| v)
}

/// Writes `{"name": value, ...}` in the order given.
pub fn write_object(fields: &[(&str, Value)]) -> String {
    let mut out = String::from("{");
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_text(&mut out, name);
        out.push(':');
        match value {
            Value::Null => out.push_str("null"),
            Value::Bool(true) => out.push_str("true"),
            Value::Bool(false) => out.push_str("false"),
            Value::Int(number) => out.push_str(&number.to_string()),
            Value::Text(text) => write_text(&mut out, text),
        }
    }
    out.push('}');
    out
}

fn write_text(out: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 => {
                let code = c as usize;
                out.push_str("\\u00");
                out.push(HEX[(code >> 4) & 15] as char);
                out.push(HEX[code & 15] as char);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A cursor over the text. `at` is a byte offset that always stands between two characters.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Consumes one ASCII byte where it is the next one.
    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += 1;
        }
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self
            .text
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(word));
        if found {
            self.at += word.len();
        }
        found
    }

    fn object(&mut self) -> Result<Fields, Reason> {
        let mut fields = Fields::new();
        self.skip_space();
        if !self.take(b'{') {
            return Err("the input is not a JSON object");
        }
        self.skip_space();
        if self.take(b'}') {
            return Ok(fields);
        }
        loop {
            self.skip_space();
            let name = self.string()?;
            self.skip_space();
            if !self.take(b':') {
                return Err("a colon is missing after a name");
            }
            self.skip_space();
            let value = self.value()?;
            if find(&fields, &name).is_some() {
                return Err("a name appears twice");
            }
            if fields.len() == FIELDS_MAX {
                return Err("the object has too many fields");
            }
            fields.push((name, value));
            self.skip_space();
            if self.take(b'}') {
                return Ok(fields);
            }
            if !self.take(b',') {
                return Err("a comma or a closing brace is missing");
            }
        }
    }

    fn value(&mut self) -> Result<Value, Reason> {
        match self.peek() {
            Some(b'"') => self.string().map(Value::Text),
            Some(b'-' | b'0'..=b'9') => self.whole_number().map(Value::Int),
            Some(b'{' | b'[') => Err("only flat objects are read here"),
            _ if self.take_word("null") => Ok(Value::Null),
            _ if self.take_word("true") => Ok(Value::Bool(true)),
            _ if self.take_word("false") => Ok(Value::Bool(false)),
            _ => Err("a value is missing or malformed"),
        }
    }

    fn whole_number(&mut self) -> Result<i64, Reason> {
        let start = self.at;
        self.take(b'-');
        let first_digit = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return Err("only whole numbers are read here");
        }
        let digits = self.text.get(first_digit..self.at).unwrap_or("");
        if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
            return Err("a number is malformed");
        }
        let number = self.text.get(start..self.at).unwrap_or("");
        number.parse().map_err(|_| "a number is too large")
    }

    fn string(&mut self) -> Result<String, Reason> {
        if !self.take(b'"') {
            return Err("a string is missing");
        }
        let mut out = String::new();
        loop {
            let rest = self.text.get(self.at..).unwrap_or("");
            let Some(c) = rest.chars().next() else {
                return Err("a string does not end");
            };
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(out),
                '\\' => out.push(self.escape()?),
                c if (c as u32) < 0x20 => return Err("a control character stands in a string"),
                c => out.push(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Reason> {
        let Some(kind) = self.peek() else {
            return Err("a string does not end");
        };
        let plain = match kind {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                return self.unicode_escape();
            }
            _ => return Err("an escape is unknown"),
        };
        self.at += 1;
        Ok(plain)
    }

    /// The four digits after `\u`, and a second such escape where the first is the upper half
    /// of a surrogate pair. A half on its own names no character and is refused.
    fn unicode_escape(&mut self) -> Result<char, Reason> {
        const ALONE: Reason = "half of a surrogate pair stands alone";
        let first = self.hex4()?;
        let code = match first {
            0xD800..=0xDBFF => {
                if !(self.take(b'\\') && self.take(b'u')) {
                    return Err(ALONE);
                }
                let second = self.hex4()?;
                if !(0xDC00..=0xDFFF).contains(&second) {
                    return Err(ALONE);
                }
                0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
            }
            other => other,
        };
        char::from_u32(code).ok_or(ALONE)
    }

    fn hex4(&mut self) -> Result<u32, Reason> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| (byte as char).to_digit(16));
            let Some(digit) = digit else {
                return Err("an escape needs four hexadecimal digits");
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Value {
        Value::Text(value.to_string())
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let input = br#" {"a":"x","b":-12,"c":null,"d":true,"e":false} "#;
        let fields = parse_object(input).unwrap();
        assert_eq!(find(&fields, "a"), Some(&text("x")));
        assert_eq!(find(&fields, "b"), Some(&Value::Int(-12)));
        assert_eq!(find(&fields, "c"), Some(&Value::Null));
        assert_eq!(find(&fields, "d"), Some(&Value::Bool(true)));
        assert_eq!(find(&fields, "e"), Some(&Value::Bool(false)));
    }

    #[test]
    fn escapes_and_surrogate_pairs_are_read() {
        let fields = parse_object(br#"{"a":"\u0041\n\"\\\/\ud83d\ude00"}"#).unwrap();
        assert_eq!(find(&fields, "a"), Some(&text("A\n\"\\/\u{1F600}")));
    }

    #[test]
    fn bad_input_is_refused_and_never_panics() {
        let bad: &[&[u8]] = &[
            b"",
            b"{",
            b"[]",
            b"{}x",
            b"\xff",
            b"{\"a\"}",
            b"{\"a\":}",
            b"{\"a\":1,}",
            b"{\"a\":01}",
            b"{\"a\":-}",
            b"{\"a\":1.5}",
            b"{\"a\":99999999999999999999}",
            b"{\"a\":{}}",
            b"{\"a\":\"",
            b"{\"a\":\"\\",
            b"{\"a\":\"\\u12",
            b"{\"a\":\"\\ud800\"}",
            b"{\"a\":\"\\ud800\\u0041\"}",
            b"{\"a\":\"\\udc00\"}",
            b"{\"a\":\"\x01\"}",
            b"{\"a\":1,\"a\":2}",
        ];
        for input in bad {
            assert!(parse_object(input).is_err(), "{:?}", input);
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let hard = "tab\t quote\" back\\ bell\u{7} euro\u{20ac} face\u{1F600}";
        let written = write_object(&[("a", text(hard)), ("b", Value::Int(7)), ("c", Value::Null)]);
        let fields = parse_object(written.as_bytes()).unwrap();
        assert_eq!(find(&fields, "a"), Some(&text(hard)));
        assert_eq!(find(&fields, "b"), Some(&Value::Int(7)));
    }
}
