//! The `agentry` command.
fn main() {}
