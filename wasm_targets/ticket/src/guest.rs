//! The border of the module: imports, exports, and the sequence of one call.
//!
//! All integers are `i32`; addresses are read as unsigned. A call goes
//! `alloc(len)` → the host writes the request there → `open_ticket(ptr, len)` → status; then,
//! for status 0, 1 and 3 only, `out_ptr()` and `out_len()` name the output.
//!
//! What to strike, and where, is asked for through the import `fault`, so nothing outside has
//! to know an instruction or a symbol of this module, and the same plan fits any build of it.

use std::cell::UnsafeCell;
use std::panic::{catch_unwind, AssertUnwindSafe};

use crate::draft::Draft;
use crate::json::{find, parse_object, write_object, Fields, Reason, Value};

/// The longest request that `alloc` makes room for.
const INPUT_MAX: usize = 64 * 1024;
/// Room for the host's reply to a commit.
const REPLY_MAX: usize = 32 * 1024;

const STATUS_OK: i32 = 0;
const STATUS_ERROR: i32 = 1;
const STATUS_PANICKED: i32 = 2;
const STATUS_REFUSED: i32 = 3;

const BEFORE_COMMIT: i32 = 1;
const AFTER_COMMIT: i32 = 2;

mod host {
    #[link(wasm_import_module = "chaoslab")]
    extern "C" {
        /// Commits a request. Returns how many bytes of reply were written to `out_ptr`, or a
        /// negative code; after a negative code the host's reason, as JSON that ends with a
        /// zero byte, may stand at `out_ptr`.
        pub fn commit(ptr: *const u8, len: usize, out_ptr: *mut u8, out_cap: usize) -> i32;
        /// Asks whether a fault is planned for this point.
        pub fn fault(point: i32) -> i32;
        pub fn log(ptr: *const u8, len: usize);
    }
}

/// A static that can be written to. A core Wasm module without threads has one flow of control,
/// and the host never enters an instance that is inside a call, so nothing is ever shared.
struct Cell<T>(UnsafeCell<T>);

// SAFETY: see above, there is no second thread to share with.
unsafe impl<T> Sync for Cell<T> {}

impl<T> Cell<T> {
    const fn new(value: T) -> Self {
        Cell(UnsafeCell::new(value))
    }

    /// Runs `action` on the content. The reference ends with the action, so a panic elsewhere
    /// leaves the static usable: there is no borrow flag that could stay set.
    fn with<R>(&self, action: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: one flow of control, and no `action` in this file reaches the same static
        // again or calls the host.
        action(unsafe { &mut *self.0.get() })
    }
}

static INPUT: Cell<Vec<u8>> = Cell::new(Vec::new());
static OUTPUT: Cell<Vec<u8>> = Cell::new(Vec::new());
static REPLY: Cell<[u8; REPLY_MAX]> = Cell::new([0; REPLY_MAX]);
static DRAFT: Cell<Draft> = Cell::new(Draft::new());
static FINISHED: Cell<i32> = Cell::new(0);

/// Makes room for a request of `len` bytes and returns its address, or 0 where that is more
/// than this module takes.
#[no_mangle]
pub extern "C" fn alloc(len: i32) -> i32 {
    let Ok(wanted) = usize::try_from(len) else {
        return 0;
    };
    if wanted > INPUT_MAX {
        return 0;
    }
    INPUT.with(|input| {
        input.clear();
        // One byte at least, so that the address of an empty request is a real one.
        if input.try_reserve_exact(wanted.max(1)).is_err() {
            return 0;
        }
        input.resize(wanted, 0);
        input.as_ptr() as usize as i32
    })
}

/// Files one ticket. See the head of this file for the statuses.
#[no_mangle]
pub extern "C" fn open_ticket(ptr: i32, len: i32) -> i32 {
    OUTPUT.with(Vec::clear);
    // In a build with panic=abort this catches nothing: the panic ends in a trap.
    match catch_unwind(AssertUnwindSafe(|| handle(ptr, len))) {
        Ok((status, output)) => {
            OUTPUT.with(|out| *out = output.into_bytes());
            status
        }
        Err(_) => {
            log("a panic was caught at the export");
            STATUS_PANICKED
        }
    }
}

/// How many calls ended with status 0. It does not touch the draft, so it answers happily on a
/// damaged instance: being alive proves nothing.
#[no_mangle]
pub extern "C" fn count() -> i32 {
    FINISHED.with(|finished| *finished)
}

#[no_mangle]
pub extern "C" fn out_ptr() -> i32 {
    OUTPUT.with(|output| output.as_ptr() as usize as i32)
}

#[no_mangle]
pub extern "C" fn out_len() -> i32 {
    OUTPUT.with(|output| output.len() as i32)
}

/// Whether the standard library believes that a panic is under way. A host asks after each call:
/// some compilers leave this true after a panic inside a panic, on an instance that answers.
#[no_mangle]
pub extern "C" fn panicking() -> i32 {
    i32::from(std::thread::panicking())
}

/// A call that came to an ordinary end, good or bad.
type Ended = (i32, String);

fn error(reason: Reason) -> Ended {
    let reason = Value::Text(reason.to_string());
    (STATUS_ERROR, write_object(&[("error", reason)]))
}

/// One call. The draft is emptied at its end, whichever ordinary end that is, and not at its
/// beginning: that is the bug, since a panic or a trap on the way skips the end.
fn handle(ptr: i32, len: i32) -> Ended {
    let request = match take_input(ptr, len).and_then(|bytes| Request::parse(&bytes)) {
        Ok(request) => request,
        Err(reason) => return error(reason),
    };
    let ended = file_ticket(&request);
    DRAFT.with(Draft::clear);
    if ended.0 == STATUS_OK {
        FINISHED.with(|finished| *finished = finished.wrapping_add(1));
    }
    ended
}

/// The bytes that the host wrote into the room that `alloc` made; anything else is refused.
fn take_input(ptr: i32, len: i32) -> Result<Vec<u8>, Reason> {
    let input = INPUT.with(std::mem::take);
    if ptr != input.as_ptr() as usize as i32 || usize::try_from(len) != Ok(input.len()) {
        return Err("the request is not where alloc made room for it");
    }
    Ok(input)
}

struct Request {
    key: Value,
    order: Value,
    customer: String,
    subject: String,
    body: String,
}

impl Request {
    fn parse(bytes: &[u8]) -> Result<Request, Reason> {
        let fields = parse_object(bytes)?;
        let known = ["key", "order", "customer", "subject", "body"];
        if fields
            .iter()
            .any(|(name, _)| !known.contains(&name.as_str()))
        {
            return Err("a field is unknown; known are key, order, customer, subject, body");
        }
        let key = match find(&fields, "key") {
            None | Some(Value::Null) => Value::Null,
            Some(Value::Text(key)) => Value::Text(key.clone()),
            Some(_) => return Err("key must be a string or null"),
        };
        let order = match find(&fields, "order") {
            Some(order @ (Value::Text(_) | Value::Int(_))) => order.clone(),
            _ => return Err("order must be a string or a whole number"),
        };
        Ok(Request {
            key,
            order,
            customer: text_of(&fields, "customer", "customer must be a string")?,
            subject: text_of(&fields, "subject", "subject must be a string")?,
            body: text_of(&fields, "body", "body must be a string")?,
        })
    }

    fn order_text(&self) -> String {
        match &self.order {
            Value::Text(text) => text.clone(),
            Value::Int(number) => number.to_string(),
            Value::Null | Value::Bool(_) => String::new(),
        }
    }

    fn commit_json(&self, text: &str) -> String {
        write_object(&[
            ("key", self.key.clone()),
            ("order", self.order.clone()),
            ("customer", Value::Text(self.customer.clone())),
            ("subject", Value::Text(self.subject.clone())),
            ("body", Value::Text(self.body.clone())),
            ("text", Value::Text(text.to_string())),
        ])
    }
}

fn text_of(fields: &Fields, name: &str, reason: Reason) -> Result<String, Reason> {
    match find(fields, name) {
        Some(Value::Text(text)) => Ok(text.clone()),
        _ => Err(reason),
    }
}

/// The sequence that the lab strikes: draft, fault point 1, commit, fault point 2, answer.
fn file_ticket(request: &Request) -> Ended {
    let fits = DRAFT.with(|draft| {
        draft.append("Customer", &request.customer)
            && draft.append("Order", &request.order_text())
            && draft.append("Subject", &request.subject)
            && draft.append("Body", &request.body)
    });
    if !fits {
        return error("the ticket is too long");
    }
    let text = DRAFT.with(|draft| draft.text());
    strike(BEFORE_COMMIT);
    let reply = match commit(&request.commit_json(&text)) {
        Ok(reply) => reply,
        Err(refused) => return refused,
    };
    strike(AFTER_COMMIT);
    answer(&reply, text)
}

fn answer(reply: &[u8], text: String) -> Ended {
    let Ok(fields) = parse_object(reply) else {
        log("the reply to a commit could not be read");
        return error("the reply to the commit is not a flat JSON object");
    };
    let reference = find(&fields, "ref").cloned().unwrap_or(Value::Null);
    let absorbed = find(&fields, "absorbed").cloned();
    let output = write_object(&[
        ("ref", reference),
        ("absorbed", absorbed.unwrap_or(Value::Bool(false))),
        ("text", Value::Text(text)),
    ]);
    (STATUS_OK, output)
}

/// Asks the host to commit. `Err` is the ordinary end of a call whose commit was refused.
fn commit(request: &str) -> Result<Vec<u8>, Ended> {
    // Where the host has no reason to give it writes nothing, so the first byte of an older
    // reply must not be taken for one.
    let out = REPLY.with(|reply| {
        reply[0] = 0;
        reply.as_mut_ptr()
    });
    // SAFETY: both ranges are ours, and nothing in this module looks at the reply meanwhile.
    let code = unsafe { host::commit(request.as_ptr(), request.len(), out, REPLY_MAX) };
    REPLY.with(|reply| match usize::try_from(code) {
        Ok(len) => match reply.get(..len) {
            Some(bytes) => Ok(bytes.to_vec()),
            None => Err(error("the host claims a reply longer than the room for it")),
        },
        Err(_) => Err((STATUS_REFUSED, refusal(code, reply))),
    })
}

/// The host's own words where it sent any, or the name of the code.
fn refusal(code: i32, reply: &[u8]) -> String {
    let words = reply.split(|byte| *byte == 0).next().unwrap_or(&[]);
    if !words.is_empty() {
        return String::from_utf8_lossy(words).into_owned();
    }
    let name = match code {
        -1 => "refused",
        -2 => "unavailable",
        -3 => "re-entered",
        -4 => "bad-request",
        -5 => "reply-too-long",
        _ => "unknown",
    };
    write_object(&[("error", Value::Text(name.to_string()))])
}

/// Carries out the fault that is planned for this point, if any. Each really happens here, in
/// compiled Rust: the lab does not imitate it from outside.
fn strike(point: i32) {
    // SAFETY: a plain number goes in and a plain number comes out.
    match unsafe { host::fault(point) } {
        1 => panic!("a planned panic"),
        2 => core::arch::wasm32::unreachable(),
        3 => loop {
            // Keeps the compiler from treating an empty loop as something it may remove.
            std::hint::black_box(point);
        },
        4 => {
            let beyond = std::hint::black_box(usize::MAX - 7) as *mut u8;
            // SAFETY: none, on purpose. No memory of this module reaches that far, so the
            // write traps and changes nothing.
            unsafe { beyond.write_volatile(1) }
        }
        _ => {}
    }
}

fn log(text: &str) {
    // SAFETY: the range is that of a live string.
    unsafe { host::log(text.as_ptr(), text.len()) }
}
