//! Derives for the engine.
//!
//! What a derive writes is only what a person would write by hand against `agentry_engine::typed`; it decides nothing.

mod state;

/// Makes a struct the state of a graph: one channel per field, and a typed update that nodes return.
///
/// A field is overwritten by the last write, unless an attribute says how writes are combined: `#[state(append)]`,
/// `#[state(sum)]`, `#[state(max)]`, `#[state(merge)]`, `#[state(messages)]` or `#[state(reducer = "name")]` for one that
/// is registered with the graph. `#[state(channel = "name")]` gives the channel another name than the field.
///
/// Every field's type is `Default`, which stands for a channel that nobody has written to yet, and can be written and
/// read by serde. `#[state(crate = "path")]` on the struct says where the engine is when it is not `agentry_engine`.
#[proc_macro_derive(State, attributes(state))]
pub fn state(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    state::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
