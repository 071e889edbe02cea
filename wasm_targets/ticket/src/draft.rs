//! The ticket text while it is being put together, and the bug of this crate.
//!
//! The buffer is emptied at the end of a call, on the assumption that the next one then starts
//! with an empty buffer. That holds until a call does not reach its end. It is on purpose that
//! there is no lock and no `RefCell` around it: either would make the damage loud (a trap at
//! the next borrow), while the damage worth testing for is the quiet one.

/// More than any ordinary ticket needs; a ticket that does not fit is refused, never cut.
const CAPACITY: usize = 24 * 1024;

pub struct Draft {
    bytes: [u8; CAPACITY],
    len: usize,
}

impl Draft {
    pub const fn new() -> Self {
        Draft {
            bytes: [0; CAPACITY],
            len: 0,
        }
    }

    /// Appends one line, `label: value`. Returns false, with nothing appended, where the line
    /// does not fit.
    pub fn append(&mut self, label: &str, value: &str) -> bool {
        let before = self.len;
        let fits = self.push(label) && self.push(": ") && self.push(value) && self.push("\n");
        if !fits {
            self.len = before;
        }
        fits
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The text so far. Only whole `&str` pieces are ever appended, so it is valid UTF-8; the
    /// lossy reading merely keeps a panic out of a place where none is meant to be.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes.get(..self.len).unwrap_or(&[])).into_owned()
    }

    fn push(&mut self, piece: &str) -> bool {
        let end = self.len + piece.len();
        match self.bytes.get_mut(self.len..end) {
            Some(room) => {
                room.copy_from_slice(piece.as_bytes());
                self.len = end;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_in_order() {
        let mut draft = Draft::new();
        assert!(draft.append("Customer", "Ada"));
        assert!(draft.append("Order", "A-1"));
        assert_eq!(draft.text(), "Customer: Ada\nOrder: A-1\n");
    }

    #[test]
    fn a_line_that_does_not_fit_leaves_nothing_behind() {
        let mut draft = Draft::new();
        assert!(draft.append("Customer", "Ada"));
        assert!(!draft.append("Body", &"x".repeat(CAPACITY)));
        assert_eq!(draft.text(), "Customer: Ada\n");
    }
}
