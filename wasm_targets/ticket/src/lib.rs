//! A support-ticket tool that runs inside an agent as a core Wasm module.
//!
//! It is a test target: ordinary code with one ordinary bug. The ticket text is put together in
//! a static buffer that is emptied when a call comes to an ordinary end. A panic or a trap in
//! the middle of a call skips that, so the next call on the *same* instance files a ticket in
//! which the previous customer's words stand beside the new customer's. A fresh instance never
//! does. Nothing about the damaged instance looks ill: it answers, and its output is valid JSON.
//!
//! - [`json`] reads and writes flat JSON and never panics, whatever it is given;
//! - [`draft`] is the buffer with the bug;
//! - `guest` holds the imports, the exports and the sequence of one call.

// Outside Wasm only the tests of the pure parts are built, so nothing there has a caller.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

mod draft;
#[cfg(target_arch = "wasm32")]
mod guest;
mod json;
